"""A copy that cannot be read keeps its own deletes, and no other's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from ringmill.node.node_options import PurgeOptions
from ringmill.node.repair import forgetting, register_removal
from ringmill.node.replica.stored_key import Copy, copy_prefix, registers_prefix
from ringmill.node.storage.storage_errors import CorruptRange
from tests.node.repair.healing_world import HealingWorld, run
from tests.node.repair.test_purging import place_of, tombstones, until
from tests.node.repair.test_register_removal import SPACE, cas, held

KEYS = [b"key%03d" % number for number in range(30)]
NAMES = ("n1", "n2", "n3")
SOON = PurgeOptions(after_s=5.0, every_s=0.5)


def cannot_read(world: HealingWorld, name: str, prefix: bytes) -> Callable[[], None]:
    """Scans of a node that begin there fail.  Returns what ends that."""
    engine: Any = world[name].replica.engine
    scan = engine.scan

    async def failing(start: bytes, *rest: Any, **more: Any) -> AsyncGenerator[tuple[bytes, bytes], None]:
        if start.startswith(prefix):
            raise CorruptRange("versions may be lost")
        async for pair in scan(start, *rest, **more):
            yield pair

    engine.scan = failing
    return lambda: delattr(engine, "scan")


def warnings_of(module: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What it logs as warnings from now on."""
    told = list[str]()
    monkeypatch.setattr(module._log, "warning", lambda text, *values: told.append(text % values))
    return told


def test_deletes_of_all_other_copies_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    told = warnings_of(forgetting, monkeypatch)

    async def story(world: HealingWorld) -> None:
        first = min(KEYS, key=world.world.partition)  # the rounds take partitions in order
        partition = world.world.partition(first)
        readable = cannot_read(world, "n1", copy_prefix(place_of(world, first).copy))
        for key in KEYS:
            await world.put("n1", key, b"v", "all")
            await world.delete("n1", key, "all")
        stays = sum(world.world.partition(key) == partition for key in KEYS)
        await until(lambda: tombstones(world, "n1") == stays and not tombstones(world, "n2", "n3"))
        await asyncio.sleep(5)
        assert "versions may be lost" in world["n1"].repair.purging.why_kept(partition)
        assert "1 partition keeps its deletes:" in world["n1"].repair.purging.story
        assert told == ["deletes of 1 partitions are not forgotten: versions may be lost"]
        readable()
        await until(lambda: not tombstones(world))
        await until(lambda: not world["n1"].repair.purging.story)

    run(story, purge=SOON)


def test_registers_of_all_other_copies_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    told = warnings_of(register_removal, monkeypatch)

    async def story(world: HealingWorld) -> None:
        topology = world.world.topology
        place = {key: topology.partition_of(SPACE, key) for key in KEYS[:8]}
        first, last = min(KEYS[:8], key=place.__getitem__), max(KEYS[:8], key=place.__getitem__)
        copy = Copy(place[first], topology.row(place[first]).copy_epochs[0])
        ends = [cannot_read(world, name, registers_prefix(copy)) for name in NAMES]
        for key in (first, last):
            await cas(world, "n1", key, b"a")
            await cas(world, "n1", key, None)
        async with asyncio.timeout(60):
            while any([await held(world, name, last) for name in NAMES]):  # noqa: ASYNC110
                await asyncio.sleep(0.25)
        assert [await held(world, name, first) for name in NAMES] == [True] * 3
        assert "1 partition keeps its deleted registers: versions may be lost" in [
            world[name].repair.purging.story for name in NAMES
        ]
        await asyncio.sleep(5)
        assert told == ["deleted registers of 1 partitions are not removed: versions may be lost"] * 3
        for end in ends:
            end()
        async with asyncio.timeout(60):
            while any([await held(world, name, first) for name in NAMES]):  # noqa: ASYNC110
                await asyncio.sleep(0.25)

    run(story, purge=SOON)
