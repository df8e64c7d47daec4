"""Two owners that differ are made equal at little more cost than what differs; equal ones are not read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ringmill.cluster.ids import NodeId
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.cluster.wire.request_options import WriteOptions
from ringmill.node.repair.anti_entropy import AntiEntropy
from ringmill.node.repair.exchange import Exchange
from ringmill.node.requests.request_values import WriteRequest
from ringmill.node.storage.engine import Engine
from ringmill.simulator.disk.moment import CrashModel
from tests.node.repair.healing_world import HealingWorld, run

KEYS = [b"key%03d" % number for number in range(200)]
VALUE = bytes(600)


async def rounds(world: HealingWorld, number: int) -> None:
    """As many rounds of every node, whatever they find."""
    for _ in range(number):
        for name in world.world.nodes:
            anti_entropy = world[name].repair.anti_entropy
            await world.inside(name, anti_entropy._round(is_due=True))


async def until(condition: Callable[[], Awaitable[bool] | bool], every_s: float = 1.0) -> None:
    async with asyncio.timeout(600):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(every_s)


async def equal(world: HealingWorld, keys: list[bytes], names: tuple[str, ...] = ("n1", "n2", "n3")) -> bool:
    for key in keys:
        held = [await world.held(name, key) for name in names]
        if any(each != held[0] for each in held):
            return False
    return True


def moved(world: HealingWorld) -> tuple[int, int]:
    """Bytes of objects, and of all messages."""
    all_of_them = [world[name].replica.comparisons for name in world.world.nodes]
    return sum(each.moved_bytes for each in all_of_them), sum(each.wire_bytes for each in all_of_them)


def no_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every hint were lost with a disk."""

    async def keep_none(*_: Any) -> str:
        return ""

    monkeypatch.setattr("ringmill.node.requests.flights.Flights._keep_hint", keep_none)
    monkeypatch.setattr("ringmill.node.requests.flights.Flights._leave_hint", keep_none)


def test_an_owner_that_was_away_gets_what_it_missed_and_little_more(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hints(monkeypatch)

    async def story(world: HealingWorld) -> None:
        for key in KEYS:
            await world.put("n1", key, VALUE, "all")
        await world.down("n3")
        for key in KEYS[::2]:
            await world.put("n1", key, VALUE, "2")
        for key in KEYS[1:20:2]:
            await world.inside(
                "n1", world["n1"].requests.delete(WriteRequest("", key, None, WriteOptions("2")))
            )
        await world.up("n3")
        objects, messages = moved(world)
        await until(lambda: equal(world, KEYS))
        await rounds(world, 2)
        now_objects, now_messages = moved(world)
        changed = [*KEYS[::2], *KEYS[1:20:2]]
        differing = sum([len(key) + 12 + len(encode_object(await world.held("n1", key))) for key in changed])
        assert differing <= now_objects - objects <= 1.05 * differing
        assert now_messages - messages <= 1.5 * differing

    run(story)


def test_equal_owners_are_not_read_and_say_little(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: HealingWorld) -> None:
        for key in KEYS:
            await world.put("n1", key, VALUE, "all")
        await asyncio.sleep(5)
        objects, messages = moved(world)

        def scan(*_: Any, **__: Any) -> Any:
            raise AssertionError("an equal copy is read")

        with monkeypatch.context() as engine:
            engine.setattr(Engine, "scan", scan)
            await rounds(world, 1)
        now_objects, now_messages = moved(world)
        assert now_objects == objects
        partitions, pairs = world.world.options.partitions, 3
        assert 0 < now_messages - messages <= 25 * partitions * pairs
        for name, other in (("n1", "n2"), ("n1", "n3"), ("n2", "n3"), ("n3", "n2")):
            comparisons = world[name].replica.comparisons
            found = [comparisons.equal_s_ago(world.world.partition(key), NodeId(other)) for key in KEYS]
            assert all(ago is not None and ago < 1 for ago in found)

    run(story)


def test_siblings_of_both_sides_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hints(monkeypatch)

    async def story(world: HealingWorld) -> None:
        await world.down("n3")
        for key in KEYS[:40]:
            await world.put("n1", key, b"one", "2")
        await world.up("n3")
        for name in ("n1", "n2"):
            await world.down(name)
        for key in KEYS[:40]:
            await world.put("n3", key, b"other", "1")
        for name in ("n1", "n2"):
            await world.up(name)
        await until(lambda: equal(world, KEYS[:40]))
        for key in KEYS[:40]:
            assert {each.value for each in (await world.held("n2", key)).siblings} >= {b"other"}

    run(story)


def test_a_comparison_that_is_cut_off_goes_on_with_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hints(monkeypatch)
    monkeypatch.setattr("ringmill.node.repair.exchange.UNIT_ITEMS", 4)
    units = 0
    equalize = Exchange._equalize

    async def count(exchange: Exchange, *rest: Any) -> int:
        nonlocal units
        units += 1
        return await equalize(exchange, *rest)

    async def story(world: HealingWorld) -> None:
        nonlocal units
        await world.down("n3")
        for key in KEYS:
            await world.put("n1", key, VALUE, "2")
        units = 0
        with monkeypatch.context() as counted:
            counted.setattr(Exchange, "_equalize", count)
            await world.up("n3")
            await until(lambda: units >= 12, 0.001)
            for name in ("n1", "n3"):
                world.world.nodes[name].kill(CrashModel.PREFIX)
            before = moved_at = units
            for name in ("n1", "n3"):
                await world.up(name)
            await until(lambda: equal(world, KEYS))
            assert units > before == moved_at

    run(story)


def test_a_damaged_copy_is_not_compared_until_it_is_healed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any) -> bool:
        return False

    async def story(world: HealingWorld) -> None:
        for key in KEYS:
            await world.put("n1", key, VALUE, "all")
        await world.inside("n2", world["n2"].replica.engine.flush())
        await world.down("n2")
        assert world.damage("n2", (".sst",))
        with monkeypatch.context() as healing:
            healing.setattr("ringmill.node.repair.healing.Healing.round", never)
            node = await world.up("n2")
            await asyncio.sleep(20)
            await world.inside("n2", node.replica.engine.verify())
            assert node.replica.engine.corrupt_ranges()
            comparisons = world["n1"].replica.comparisons
            pulled, moved_bytes = comparisons.pulled, comparisons.moved_bytes
            await rounds(world, 2)
            anti_entropy: AntiEntropy = world["n1"].repair.anti_entropy
            assert any("damaged" in why for why in anti_entropy.held_back.values())
            assert (comparisons.pulled, comparisons.moved_bytes) == (pulled, moved_bytes)
        await until(lambda: not node.replica.engine.corrupt_ranges())
        await until(lambda: not world["n1"].repair.anti_entropy.held_back)
        assert await equal(world, KEYS)

    run(story)
