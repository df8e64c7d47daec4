"""A write whose hint died with its coordinator's process reaches every owner, though nobody reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ringmill.cluster.errors import DiskFull, Unavailable
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.node.repair.anti_entropy import LONG_S
from ringmill.node.repair.exchange import Exchange
from ringmill.node.replica.comparing.exchange_messages import RootOf
from ringmill.node.replica.hints import HintStore
from ringmill.simulator.disk.moment import CrashModel
from tests.node.repair.healing_world import HealingWorld, run

KEYS = [b"key%d" % number for number in range(20)]


async def caught_up(world: HealingWorld, name: str) -> None:
    async with asyncio.timeout(120):
        while not world[name].repair.anti_entropy.is_done:  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(0.1)


async def compare_all(world: HealingWorld, name: str) -> None:
    anti_entropy = world[name].repair.anti_entropy
    anti_entropy.compare_now([PartitionId(number) for number in range(world.world.options.partitions)])


async def write_without_n3(world: HealingWorld) -> None:
    """Acked by n1 and n2 while n3 is silent; then n1 and n3 die, before n1 has kept a hint."""
    nodes = world.world.nodes
    nodes["n3"].pause()
    for key in KEYS:
        await world.put("n1", key, b"v")
    for name in ("n1", "n3"):
        nodes[name].resume()
        nodes[name].kill(CrashModel.PREFIX)


def test_owners_are_compared_after_a_start_that_was_not_clean() -> None:
    async def story(world: HealingWorld) -> None:
        await write_without_n3(world)
        for name in ("n1", "n3"):
            await world.up(name)
        assert [world[name].replica.hints.total for name in ("n1", "n2", "n3")] == [0, 0, 0]
        for name in ("n1", "n3"):
            await caught_up(world, name)
        for key in KEYS:
            held = [await world.held(name, key) for name in ("n1", "n2", "n3")]
            assert held[0] == held[1] == held[2]
            assert [each.value for each in held[0].siblings] == [b"v"]
        assert sum(world[name].repair.anti_entropy.mended for name in ("n1", "n3")) >= len(KEYS)

    run(story)


def test_comparing_waits_for_an_owner_that_is_down_and_is_not_forgotten_by_a_stop() -> None:
    async def story(world: HealingWorld) -> None:
        await write_without_n3(world)
        await world.up("n1")
        await asyncio.sleep(30)
        assert not world["n1"].repair.anti_entropy.is_done
        assert world["n1"].repair.anti_entropy.story.endswith("n3, who may lack a write: n3 is down")
        await world.down("n1")
        await world.up("n1")
        await world.up("n3")
        await caught_up(world, "n1")
        for key in KEYS:
            assert [each.value for each in (await world.held("n3", key)).siblings] == [b"v"]

    run(story)


def test_a_clean_stop_leaves_nothing_to_compare() -> None:
    async def story(world: HealingWorld) -> None:
        await world.put("n1", KEYS[0], b"v", "all")
        await world.down("n1")
        await world.up("n1")
        assert world["n1"].repair.anti_entropy.is_done
        world.world.nodes["n1"].kill(CrashModel.PREFIX)
        node = await world.up("n1")
        assert not node.repair.anti_entropy.is_done

    run(story)


@pytest.mark.parametrize("refusal", [DiskFull, Unavailable], ids=["refused", "lost"])
def test_a_hint_that_never_reached_the_disk_makes_the_stop_no_clean_one(
    refusal: type[DiskFull | Unavailable], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: HealingWorld) -> None:
        async def refuse(*_: object) -> None:
            raise refusal("no hint can be kept now")

        await world.down("n3")
        with monkeypatch.context() as disk:
            disk.setattr(HintStore, "_change", refuse)
            for key in KEYS:
                await world.put("n1", key, b"v")
            await world.down("n1")
        for name in ("n1", "n3"):
            await world.up(name)
        await caught_up(world, "n1")
        for key in KEYS:
            assert [each.value for each in (await world.held("n3", key)).siblings] == [b"v"]

    run(story)


def test_an_owner_of_dropped_hints_is_compared_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HintStore, "_is_within_bounds", lambda *_: False)

    async def story(world: HealingWorld) -> None:
        await world.down("n3")
        for key in KEYS:
            await world.put("n1", key, b"v", "2")
        assert world["n1"].replica.hints.total == 0
        anti_entropy = world["n1"].repair.anti_entropy
        assert not anti_entropy.is_done and anti_entropy.waiting
        assert "n3" in anti_entropy.story
        await asyncio.sleep(100)
        assert anti_entropy.waiting
        told = anti_entropy.story
        await world.inside("n1", compare_all(world, "n1"))
        assert anti_entropy.story == told  # asking for it takes nothing back
        await world.up("n3")
        for name in ("n1", "n2"):
            await caught_up(world, name)
        for key in KEYS:
            assert [each.value for each in (await world.held("n3", key)).siblings] == [b"v"]

    run(story)


def test_a_pair_that_takes_long_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HintStore, "_is_within_bounds", lambda *_: False)
    mend, goes_on = Exchange.mend, asyncio.Event()

    async def story(world: HealingWorld) -> None:
        large = world.world.partition(KEYS[0])
        small = next(key for key in KEYS if world.world.partition(key) != large)
        waiting: list[PartitionId] = []

        async def mend_slowly(self: Exchange, partition: PartitionId, *rest: Any) -> None:
            if partition == large:
                waiting.append(partition)
                await goes_on.wait()
            await mend(self, partition, *rest)

        monkeypatch.setattr(Exchange, "mend", mend_slowly)
        await world.down("n3")
        await world.put("n1", KEYS[0], b"v", "2")
        await world.up("n3")
        async with asyncio.timeout(100):
            while not waiting:  # noqa: ASYNC110 - virtual time costs nothing
                await asyncio.sleep(1)
        await world.down("n3")
        await world.put("n1", small, b"v", "2")
        await world.up("n3")
        await asyncio.sleep(3 * LONG_S)
        assert [each.value for each in (await world.held("n3", small)).siblings] == [b"v"]
        anti_entropy = world["n1"].repair.anti_entropy
        assert anti_entropy.waiting == [(large, "n3")] and "takes more than 30 s" in anti_entropy.story
        goes_on.set()
        await caught_up(world, "n1")
        assert [each.value for each in (await world.held("n3", KEYS[0])).siblings] == [b"v"]

    run(story)


def test_a_dropped_hint_is_not_forgotten_by_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HintStore, "_is_within_bounds", lambda *_: False)

    async def story(world: HealingWorld) -> None:
        await world.down("n3")
        for key in KEYS:
            await world.put("n1", key, b"v", "2")
        await world.down("n1")
        await world.up("n1")
        assert not world["n1"].repair.anti_entropy.is_done

    run(story)


def test_a_comparison_that_somebody_asks_for_tells_of_nothing_missing() -> None:
    async def story(world: HealingWorld) -> None:
        await world.put("n1", KEYS[0], b"v", "all")
        anti_entropy = world["n1"].repair.anti_entropy
        await caught_up(world, "n1")
        await world.inside("n1", compare_all(world, "n1"))
        assert anti_entropy.waiting and not anti_entropy.story
        await caught_up(world, "n1")
        assert not anti_entropy.story

    run(story)


@pytest.mark.parametrize("fault", ["a comparison that always raises", "a peer that is down", "damaged sums"])
def test_a_round_that_could_not_compare_a_pair_does_not_count(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare_roots, root = Exchange.compare_roots, Exchange.root

    async def no_answer(self: Exchange, peer: NodeId, roots: Sequence[RootOf]) -> bytes:
        if peer == "n3":
            raise Unavailable("n3 is as good as silent")
        return await compare_roots(self, peer, roots)

    async def story(world: HealingWorld) -> None:
        anti_entropy = world["n1"].repair.anti_entropy
        every_s, clock = anti_entropy.every_s, world["n1"].core.clock

        async def passed_s_ago() -> float:
            await asyncio.sleep(3 * every_s)
            assert anti_entropy.passed_at is not None
            return clock.monotonic() - anti_entropy.passed_at

        assert await passed_s_ago() < 2 * every_s
        with monkeypatch.context() as patch:
            if fault == "a peer that is down":
                await world.down("n3")
            elif fault == "damaged sums":
                patch.setattr(Exchange, "root", lambda self, at, row: root(self, at, row) if at else None)
            else:
                patch.setattr(Exchange, "compare_roots", no_answer)
            assert await passed_s_ago() > 2.5 * every_s
            assert await passed_s_ago() > 5.5 * every_s
        if fault == "a peer that is down":
            await world.up("n3")
        assert await passed_s_ago() < 2 * every_s

    run(story)


def test_a_node_whose_pairs_are_led_by_others_has_nothing_to_wait_for() -> None:
    async def story(world: HealingWorld) -> None:
        anti_entropy = world["n3"].repair.anti_entropy
        await world.down("n1")
        await asyncio.sleep(3 * anti_entropy.every_s)
        assert anti_entropy.passed_at is not None
        assert world["n3"].core.clock.monotonic() - anti_entropy.passed_at < 2 * anti_entropy.every_s

    run(story)
