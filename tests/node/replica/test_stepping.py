"""Changing one key in one step, where its present value has to come from the disk each time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ringmill.node.replica.stepping import change
from ringmill.node.storage.batch import Batch
from ringmill.node.storage.engine import Commit, Engine, EngineOptions
from ringmill.node.storage.storage_errors import NotCached
from ringmill.simulator.disk import lossy
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.spawner import InlineSpawner

KEY = b"key"


@pytest.fixture
async def cold(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    """An engine whose block no cache holds, neither its own nor the system's; KEY is 0 in a table."""
    monkeypatch.setattr(lossy._LossyReadFile, "pread_cached", lambda *_: None)
    options = EngineOptions(block_cache_bytes=0, memtable_bytes=1000)
    spawner = InlineSpawner(stream(1, "spawner"), longest_s=0)
    async with await Engine.open("data", options, files=LossyDisk(), spawner=spawner) as engine:
        put(engine, 0)
        await engine.flush()
        yield engine


def put(engine: Engine, number: int) -> Commit:
    batch = Batch()
    batch.put(KEY, b"%d" % number)
    return engine.apply(batch)


def add_one(engine: Engine, present: bytes | None) -> None:
    put(engine, int(present or b"0") + 1)


async def test_a_key_that_no_cache_can_hold_is_changed_all_the_same(cold: Engine) -> None:
    with pytest.raises(NotCached):
        cold.get_nowait(KEY)
    await change(cold, KEY, lambda present: add_one(cold, present))
    assert await cold.get(KEY) == b"1"


async def test_writers_of_such_a_key_lose_nothing_to_each_other_nor_to_flushes(cold: Engine) -> None:
    async def add_often() -> None:
        for _ in range(20):
            await change(cold, KEY, lambda present: add_one(cold, present))
            await cold.flush()

    await asyncio.gather(*(add_often() for _ in range(4)))
    assert await cold.get(KEY) == b"80"


async def test_none_of_many_that_read_at_once_finds_the_memtable_full(cold: Engine) -> None:
    def put_beside(number: int) -> Commit:
        batch = Batch()
        batch.put(b"beside %03d" % number, bytes(100))
        return cold.apply(batch)

    async def step(number: int) -> None:
        await change(cold, KEY, lambda _: put_beside(number))

    await asyncio.gather(*(step(number) for number in range(100)))  # 8 fit into a memtable
    assert len([key async for key, _ in cold.scan(b"beside", KEY)]) == 100


async def test_a_writer_that_reads_gets_its_turn_beside_those_that_only_write(
    cold: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, reads = lossy._LossyReadFile.pread_off_loop, []

    async def read_while_others_write(file: lossy._LossyReadFile, size: int, offset: int) -> bytes:
        reads.append(offset)
        while cold.has_space:
            batch = Batch()
            batch.put(b"beside", bytes(100))
            cold.apply(batch)
        return await read(file, size, offset)

    monkeypatch.setattr(lossy._LossyReadFile, "pread_off_loop", read_while_others_write)
    await change(cold, KEY, lambda present: add_one(cold, present))
    monkeypatch.undo()
    assert await cold.get(KEY) == b"1" and len(reads) <= 4


async def test_control_state_takes_the_spare_room_and_waits_behind_no_writer(cold: Engine) -> None:
    """Votes and confirmed starts are control state: a cluster that cannot write them decides nothing."""
    while cold.has_space:
        batch = Batch()
        batch.put(b"beside", bytes(100))
        cold.apply(batch)
    writing = asyncio.ensure_future(cold.wait_writable())
    voting = asyncio.ensure_future(cold.wait_writable(is_control=True))
    await asyncio.sleep(0)
    assert voting.done() and not writing.done()
    await writing


async def test_a_value_whose_successor_was_flushed_while_it_was_read_is_not_the_present_one(
    cold: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_read, read = asyncio.Event(), lossy._LossyReadFile.pread_off_loop

    async def read_late(file: lossy._LossyReadFile, size: int, offset: int) -> bytes:
        await may_read.wait()
        return await read(file, size, offset)

    monkeypatch.setattr(lossy._LossyReadFile, "pread_off_loop", read_late)
    reading = asyncio.ensure_future(cold.get_for_change(KEY))
    await asyncio.sleep(0)
    put(cold, 7)
    await cold.flush()
    may_read.set()
    assert await reading == (b"0", False)


async def test_a_value_that_was_overwritten_or_dropped_while_it_was_read_is_not_the_present_one(
    cold: Engine,
) -> None:
    assert await cold.get_for_change(KEY) == (b"0", True)
    reading = asyncio.ensure_future(cold.get_for_change(KEY))
    await asyncio.sleep(0)
    put(cold, 7)
    assert (await reading)[1] is False
    await cold.flush()
    reading = asyncio.ensure_future(cold.get_for_change(KEY))
    await asyncio.sleep(0)
    await cold.drop_prefix(b"k")
    assert (await reading)[1] is False
