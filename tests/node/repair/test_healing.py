"""A node whose store was damaged while it was down starts, serves, and is whole again by its peers."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill.cluster.errors import CorruptData, QuorumNotReached, RingmillError, Unavailable
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.node.repair.damage.accepted_loss import AcceptedLoss
from ringmill.node.repair.damage.parts import Layout, Part, PartKind
from ringmill.node.repair.healing import Healing
from ringmill.node.replica import pages
from ringmill.node.replica.comparing.copy_sums import CopySums
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.pages import Page
from ringmill.node.replica.stored_key import Copy, copy_prefix
from ringmill.node.storage.version.version import CorruptMark
from ringmill.simulator.subjects.every import ablation_named
from tests.node.repair.healing_world import HealingWorld, run

KEYS = [b"key%d" % number for number in range(60)]


async def fill(world: HealingWorld) -> None:
    for number, key in enumerate(KEYS):
        await world.put(f"n{1 + number % 3}", key, b"%d" % number * 40, "all")


async def healed(world: HealingWorld, name: str) -> None:
    async with asyncio.timeout(120):
        while world[name].replica.engine.corrupt_ranges() or world[name].repair.healing.now:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def same_everywhere(world: HealingWorld) -> None:
    for key in KEYS:
        first = await world.held("n1", key)
        for other in ("n2", "n3"):
            assert await world.held(other, key) == first, key


@pytest.mark.parametrize("suffixes", [(".sst",), (".log",), (".log", ".sst")], ids=["tables", "logs", "both"])
@pytest.mark.parametrize("at", [0.0, 0.4])
@pytest.mark.parametrize("page_items", [2, pages.PAGE_ITEMS])
def test_a_damaged_store_is_filled_again_from_the_other_owners(
    suffixes: tuple[str, ...], at: float, page_items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_ITEMS", page_items)

    async def story(world: HealingWorld) -> None:
        await fill(world)
        await world.inside("n1", world["n1"].replica.engine.flush())
        for number, key in enumerate(KEYS[:40]):
            await world.put("n1", key, b"later %d" % number, "all")
        await world.down("n1")
        for key in KEYS[:5]:
            await world.put("n2", key, b"while n1 was down")
        assert world.damage("n1", suffixes, at=at)
        await world.up("n1")
        for key in KEYS[5:10]:
            await world.put("n1", key, b"beside the damage")
        await world.inside("n1", world["n1"].replica.engine.verify(bytes_per_s=1e9))
        await healed(world, "n1")
        async with asyncio.timeout(60):
            while any(world[name].replica.hints.total for name in ("n1", "n2", "n3")):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await same_everywhere(world)
        assert await world.get("n1", KEYS[0], "1") == [b"while n1 was down"]
        assert await world.get("n1", KEYS[7], "1") == [b"beside the damage"]
        async with asyncio.timeout(60):  # keys are counted again after healing
            while world["n1"].replica.objects.keys != len(KEYS):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert world["n1"].repair.healing.healed or at == 0.0  # the first byte of a log may not matter

    run(story)


async def lose_the_log(world: HealingWorld, name: str) -> None:
    """Everything may be lost then: the mark of a damaged log covers all keys."""
    await world.down(name)
    world.damage_a_batch(name)  # which no table holds yet
    await world.up(name)
    assert any(mark.end is None for mark in world[name].replica.engine.corrupt_ranges())


async def fill_and_flush(world: HealingWorld) -> None:
    await fill(world)
    for name in ("n1", "n2", "n3"):
        await world.inside(name, world[name].replica.engine.flush())
    for key in KEYS:
        await world.put("n2", key, b"the last", "all")


def test_healing_never_waits_for_the_count_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    async def count_for_ever(_: ObjectStore) -> None:
        await asyncio.Event().wait()

    async def story(world: HealingWorld) -> None:
        monkeypatch.setattr(ObjectStore, "count_stored", count_for_ever)
        node = world["n1"]
        for _ in range(2):
            before = node.repair.healing.healed
            await fill_and_flush(world)
            assert world.damage("n1", [".sst"], at=0.4)
            assert await world.inside("n1", node.replica.engine.verify(bytes_per_s=1e9))
            async with asyncio.timeout(60):
                while node.repair.healing.healed == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            await healed(world, "n1")

    run(story)


def test_too_few_sound_owners_heal_nothing_until_one_is_back() -> None:
    async def story(world: HealingWorld) -> None:
        await fill_and_flush(world)
        await world.down("n3")
        await lose_the_log(world, "n1")
        await asyncio.sleep(30)
        assert world["n1"].replica.engine.corrupt_ranges()
        with pytest.raises(CorruptData):
            await world.held("n1", KEYS[0])
        await world.up("n3")
        await healed(world, "n1")
        await same_everywhere(world)

    run(story)


@pytest.mark.parametrize("is_safe", [True, False])
def test_one_other_owner_is_not_a_source_as_it_may_have_missed_what_was_lost(is_safe: bool) -> None:
    """n1 and n2 have acknowledged a write that n3 has missed; n2 loses it, and n1 is away with the hint."""

    async def story(world: HealingWorld) -> None:
        await fill_and_flush(world)
        await world.down("n3")
        await world.put("n1", KEYS[0], b"new")
        await world.down("n1")
        await world.up("n3")
        await world.down("n2")
        for step in range(100):
            assert world.damage("n2", [".log"], at=0.5 + step / 200)
        await world.up("n2")
        await asyncio.sleep(60)
        try:
            found = await world.get("n3", KEYS[0])
        except QuorumNotReached:
            found = [b"an error"]
        assert found == ([b"an error"] if is_safe else [b"the last"])

    with contextlib.nullcontext() if is_safe else ablation_named("healed-from-enough").off():
        run(story)


def test_an_owner_that_may_have_lost_the_same_range_is_not_a_source() -> None:
    async def story(world: HealingWorld) -> None:
        await fill_and_flush(world)
        await lose_the_log(world, "n1")
        await world.down("n1")
        await lose_the_log(world, "n2")
        await world.up("n1")
        await asyncio.sleep(60)
        for name in ("n1", "n2"):
            with pytest.raises(CorruptData):
                await world.held(name, KEYS[0])
        with pytest.raises(QuorumNotReached):
            await world.get("n3", KEYS[0])
        assert await world.get("n3", KEYS[0], "1") == [b"the last"]

    run(story)


def test_without_any_other_owner_damage_stays_an_error_and_never_an_absence() -> None:
    async def story(world: HealingWorld) -> None:
        for key in KEYS:
            await world.put("n1", key, b"v")
        await lose_the_log(world, "n1")
        await asyncio.sleep(30)
        with pytest.raises(CorruptData):
            await world.held("n1", KEYS[0])

    run(story, nodes=1)


def test_what_only_the_damaged_node_has_is_kept() -> None:
    async def story(world: HealingWorld) -> None:
        await fill(world)
        for name in ("n2", "n3"):
            await world.down(name)
        with contextlib.suppress(RingmillError):
            await world.put("n1", b"alone", b"v", "1")
        await world.inside("n1", world["n1"].replica.engine.flush())
        for key in KEYS[:20]:
            with contextlib.suppress(RingmillError):
                await world.put("n1", key, b"w", "1")
        await lose_the_log(world, "n1")
        for name in ("n2", "n3"):
            await world.up(name)
        await healed(world, "n1")
        assert [each.value for each in (await world.held("n1", b"alone")).siblings] == [b"v"]

    run(story)


def test_a_node_whose_start_is_not_confirmed_tells_what_it_lacks() -> None:
    """The plan of `cluster recover` goes by it where most members are lost."""

    async def story(world: HealingWorld) -> None:
        for name in ("n3", "n2"):
            await world.down(name)
        await world.inside("n1", world["n1"].replica.engine.fence(b"", b"\xff"))
        await world.down("n1")
        node = await world.up("n1")
        assert not node.membership.topology.serving
        assert (node.repair.healing.unfilled, node.repair.healing.owned) == (16, 16)

    run(story)


def healing_beside(*, engine: Any = None, objects: Any = None, transport: Any = None) -> Healing:
    of_no_use: Any = SimpleNamespace()
    return Healing(
        NodeId("a"),
        engine=engine,
        objects=objects,
        control=of_no_use,
        watermarks=of_no_use,
        topology=cast("Any", SimpleNamespace(current=SimpleNamespace(epoch=Epoch(1)))),
        transport=transport,
        on_lost_hints=lambda: None,
        heal_registers=of_no_use,
        loss=AcceptedLoss(),
        gate=of_no_use,
    )


async def test_an_owner_that_answers_with_keys_before_those_asked_for_is_not_a_source() -> None:
    """What stands here in their place is not looked at, so it would be overwritten."""
    row: Any = SimpleNamespace(whole=[NodeId("a"), NodeId("b")], row_epoch=Epoch(1))
    told = [Page(Epoch(1), ((key, b"v"),), b"").encode() for key in (b"j", b"k")]

    async def call(*_: Any, **__: Any) -> bytes:
        return told.pop()

    healing = healing_beside(transport=SimpleNamespace(call=call))
    asked = (row, PartitionId(1), b"k", b"\x10z", b"\x10", 1)
    assert len(await healing._ask(*asked)) == 1
    with pytest.raises(Unavailable, match="b answered with keys before those that were asked for"):
        await healing._ask(*asked)


async def test_a_damaged_former_copy_is_given_up_with_a_word(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, other = (Copy(PartitionId(number), Epoch(1)) for number in (3, 5))
    prefix, lifted = copy_prefix(former), list[bytes]()
    marks = [CorruptMark(prefix + b"a", prefix + b"b", 9)]

    async def mark_healed(mark: CorruptMark, start: bytes, end: bytes | None) -> None:
        lifted.append(start)
        marks.remove(mark)

    sums = CopySums()
    sums.end()
    healing = healing_beside(
        engine=SimpleNamespace(corrupt_ranges=lambda: marks, mark_healed=mark_healed),
        objects=SimpleNamespace(copies=lambda: [former, other], sums=sums),
    )
    everything = Layout([Part(b"", None, PartKind.ORPHANED)])
    monkeypatch.setattr(healing, "_layout", lambda: everything)
    assert await healing.round()
    assert lifted == [prefix + b"a"] and healing.healed == 0, "nothing was merged from others"
    assert [each.message for each in caplog.records] == [
        "a former copy of partition 3 is damaged: what survived is kept"
    ]
    assert sums.of(former) is None and sums.of(other) is not None
