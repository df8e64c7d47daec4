"""What an engine does while space is short: it says so and helps itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from random import Random

import pytest

from ringmill.cluster.errors import DiskFull
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.upkeep.space import needed_space
from ringmill.node.storage.version.version import Version
from ringmill.simulator.disk.engine_trace import FOLDER, TINY
from ringmill.simulator.disk.lossy import LossyDisk

OpenEngine = Callable[..., Awaitable[Engine]]
PATIENCE_S = 10


def one(key: bytes, value: bytes) -> Batch:
    batch = Batch()
    batch.put(key, value)
    return batch


async def fill_until_refused(engine: Engine, key: Callable[[int], bytes]) -> None:
    random = Random(1)
    with pytest.raises(DiskFull, match="read-only"):
        for number in range(10_000):
            await engine.wait_writable()
            await engine.apply(one(key(number), random.randbytes(100))).synced()


async def until_writable(engine: Engine) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while engine.read_only_reason is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_log_that_takes_the_space_is_flushed_and_writing_goes_on_by_itself(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    options = replace(TINY, memtable_bytes=4_000_000, reserve_bytes=0)
    engine = await open_engine(options)
    disk.capacity = disk.used + needed_space(Version(), options).total_bytes + 300_000
    for number in range(400):  # a tenth of a memtable, and more than there is space for
        with suppress(DiskFull):
            await engine.wait_writable()
            await engine.apply(one(b"the same key", b"%0999d" % number)).synced()
    async with asyncio.timeout(PATIENCE_S):  # nobody makes room: the log becomes a table of one key
        while not engine.stats().counters.flushes or engine.read_only_reason:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await engine.apply(one(b"after", b"1")).synced()
    assert await engine.get(b"after") == b"1"


@pytest.mark.parametrize("by", ["drop", "deletes"])
async def test_what_frees_space_is_taken_on_a_full_disk_and_the_space_returns_by_itself(
    disk: LossyDisk, open_engine: OpenEngine, by: str
) -> None:
    engine = await open_engine(replace(TINY, memtable_bytes=10_000, reserve_bytes=20_000))
    disk.capacity = disk.used + 150_000
    await fill_until_refused(engine, lambda number: b"key%05d" % number)
    with pytest.raises(DiskFull, match="read-only"):
        engine.apply(one(b"key", b"1"))
    if by == "drop":
        await (await engine.drop_prefix(b"key")).synced()
    else:
        keys = [key async for key, _ in engine.scan()]
        for key in keys:
            batch = Batch()
            batch.delete(key)
            await engine.wait_writable(frees_space=True)
            await engine.apply(batch, frees_space=True).synced()
    await until_writable(engine)
    await engine.apply(one(b"after", b"1")).synced()
    assert [pair async for pair in engine.scan()] == [(b"after", b"1")]


async def test_a_range_is_compacted_in_pieces_and_waits_for_the_room_that_one_takes(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    options = replace(TINY, memtable_bytes=10_000, table_bytes=10_000, level1_bytes=40_000, reserve_bytes=0)
    engine = await open_engine(options)
    keys, random = [b"key%05d" % number for number in range(4000)], Random(2)
    for key in keys:
        await engine.wait_writable()
        engine.apply(one(key, random.randbytes(60)))
    await engine.flush()
    for key in random.sample(keys, 1000):
        await engine.wait_writable()
        engine.apply(one(key, b"newer"))
    await engine.flush()
    assert sum(level.entries for level in engine.stats().levels) > len(keys)
    full, log_bytes = engine.stats().table_bytes, 2 * options.memtable_bytes
    disk.capacity = disk.used + log_bytes
    with pytest.raises(DiskFull, match="are needed to merge"):
        await engine.compact_range()
    disk.capacity = disk.used + log_bytes + full // 2
    async with asyncio.timeout(PATIENCE_S):
        while engine.stats().levels[-1].entries != len(keys):
            with suppress(DiskFull):  # what is replaced goes a little later
                await engine.compact_range()
            await asyncio.sleep(0)
    assert [level.entries for level in engine.stats().levels if level.tables] == [len(keys)]
    assert len([pair async for pair in engine.scan()]) == len(keys)


@pytest.mark.parametrize("by", ["deletes", "damage"])
async def test_what_can_wait_waits_for_its_room_and_keeps_nobody_waiting(
    disk: LossyDisk, open_engine: OpenEngine, by: str
) -> None:
    options = replace(
        TINY, memtable_bytes=10_000, table_bytes=200_000, level1_bytes=1 << 20, reserve_bytes=0,
        level0_tables=100, slow_at_tables=100, stop_at_tables=100,
    )  # fmt: skip
    engine = await open_engine(options)
    keys, random = [b"key%05d" % number for number in range(1000)], Random(3)
    for key in random.sample(keys, len(keys)):
        await engine.wait_writable()
        engine.apply(one(key, random.randbytes(100)))
    await engine.flush()
    await engine.compact_range()
    merged = engine.stats().counters.compactions
    in_force = sum(level.tables for level in engine.stats().levels)
    async with asyncio.timeout(PATIENCE_S):  # what was replaced is deleted
        while sum(name.endswith(".sst") for name in disk.list(FOLDER)) > in_force:  # noqa: ASYNC110
            await asyncio.sleep(0)
    disk.capacity = disk.used + 2 * options.memtable_bytes + 20_000
    if by == "deletes":
        for key in keys[::4]:
            batch = Batch()
            batch.delete(key)
            await engine.wait_writable(frees_space=True)
            engine.apply(batch, frees_space=True)
    else:
        large = max(engine._tables.version.tables(), key=lambda meta: meta.size)
        engine._upkeep.compactor.report_damage(large.file_id)
    async with asyncio.timeout(PATIENCE_S):
        await engine.flush()
    counters = engine.stats().counters
    assert (counters.failed_compactions, counters.compactions) == (0, merged)
    disk.capacity = None
    async with asyncio.timeout(PATIENCE_S):  # the room is there again
        await engine.wait_idle()
    assert engine.stats().counters.compactions > merged
    kept = [key async for key, _ in engine.scan()]
    assert kept == ([key for key in keys if key not in keys[::4]] if by == "deletes" else keys)


async def test_merges_that_keep_the_levels_in_shape_wait_for_their_room(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    wide = replace(
        TINY, memtable_bytes=100_000, table_bytes=100_000, reserve_bytes=0,
        level0_tables=1, level1_bytes=10_000, level_growth=10,
    )  # fmt: skip
    keys, random = [b"key%05d" % number for number in range(2000)], Random(4)
    for options in (wide, replace(wide, level1_bytes=1 << 20)):  # into level 3, and above it into level 1
        engine = await open_engine(options)
        for key in keys:
            await engine.wait_writable()
            engine.apply(one(key, random.randbytes(60)))
        await engine.flush()
        await engine.wait_idle()
        found = [level.level for level in engine.stats().levels if level.tables]
        assert found == ([2, 3] if options is wide else [1, 2, 3])
        await engine.close()
    disk.capacity = disk.used + 5_000
    narrow = await open_engine(wide)
    async with asyncio.timeout(PATIENCE_S):
        await narrow.wait_idle()
    counters = narrow.stats().counters
    assert (counters.failed_compactions, counters.compactions) == (0, 0)
    disk.capacity = None
    async with asyncio.timeout(PATIENCE_S):
        await narrow.wait_idle()
    assert narrow.stats().counters.compactions
    assert [key async for key, _ in narrow.scan()] == keys


async def test_an_engine_is_writable_again_with_space_even_if_logs_and_compactions_hold_the_rest(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    options = replace(TINY, memtable_bytes=10_000, reserve_bytes=5_000)
    engine = await open_engine(options)
    disk.capacity = disk.used + 120_000
    await fill_until_refused(engine, lambda number: b"key%05d" % number)
    assert engine.read_only_reason is not None and "are needed" in engine.read_only_reason
    before = engine.sequence
    await engine.wait_idle()  # no flush or merge is stuck
    disk.capacity += 100_000
    await until_writable(engine)
    await engine.apply(one(b"after", b"1")).synced()
    await engine.close()
    disk.capacity = None
    again = await open_engine(options)
    assert len([pair async for pair in again.scan()]) == before + 1
