"""The engine as its callers see it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner
from ringmill.cluster.errors import InvalidArgument, Overloaded, Unavailable
from ringmill.node.storage.batch import MAX_RECORD_KEY_BYTES
from ringmill.node.storage.engine import Batch, Engine, EngineOptions, NotCached
from ringmill.node.storage.storage_errors import StorageFailed

OpenEngine = Callable[..., Awaitable[Engine]]
ROOMY = EngineOptions(memtable_bytes=1 << 20)


def put(engine: Engine, key: bytes, value: bytes) -> int:
    batch = Batch()
    batch.put(key, value)
    return engine.apply(batch).sequence


def delete(engine: Engine, key: bytes) -> None:
    batch = Batch()
    batch.delete(key)
    engine.apply(batch)


async def everything(engine: Engine) -> dict[bytes, bytes]:
    return {key: value async for key, value in engine.scan()}


async def fill(engine: Engine, count: int, salt: bytes = b"") -> dict[bytes, bytes]:
    """Enough to be flushed and merged several times with tiny options."""
    written = {}
    for number in range(count):
        await engine.wait_writable()
        key, value = b"key%05d" % (number * 7919 % count), b"value %d " % number + salt
        put(engine, key, value)
        written[key] = value
    return written


async def test_a_batch_is_visible_at_once_and_as_a_whole(open_engine: OpenEngine) -> None:
    engine = await open_engine(ROOMY)
    batch = Batch()
    batch.put(b"a", b"1")
    batch.put(b"b", b"2")
    batch.put(b"a", b"3")
    batch.delete(b"c")
    assert len(batch) == 4
    commit = engine.apply(batch)
    assert (engine.get_nowait(b"a"), engine.get_nowait(b"b"), engine.get_nowait(b"c")) == (b"3", b"2", None)
    assert commit.sequence == engine.sequence == 1


async def test_what_was_synced_or_closed_is_there_after_reopening(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    written = await fill(engine, 500)
    await engine.close()
    again = await open_engine()
    assert await everything(again) == written
    assert again.sequence == again.synced_sequence == 500


async def test_a_batch_can_be_waited_for_until_the_system_or_the_disk_has_it(open_engine: OpenEngine) -> None:
    engine = await open_engine(ROOMY)
    batch = Batch()
    batch.put(b"k", b"v")
    await engine.apply(batch).buffered()
    commit = engine.apply(batch)
    await commit.synced()
    assert commit.is_synced
    assert engine.synced_sequence == 2


async def test_many_waiters_share_a_sync(open_engine: OpenEngine) -> None:
    engine = await open_engine(ROOMY)

    async def write(number: int) -> None:
        batch = Batch()
        batch.put(b"%d" % number, b"v")
        await engine.apply(batch).synced()

    await asyncio.gather(*(write(number) for number in range(100)))
    assert engine.synced_sequence == 100
    assert engine.stats().log_syncs <= 5


async def test_gets_and_scans_agree_on_every_level_of_the_tree(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    written = await fill(engine, 800)
    for number in range(0, 800, 3):
        key = b"key%05d" % number
        await engine.wait_writable()
        delete(engine, key)
        del written[key]
    await engine.wait_idle()
    assert len(engine.stats().levels) >= 2
    for number in range(800):
        key = b"key%05d" % number
        assert await engine.get(key) == written.get(key)
    in_order = sorted(written.items())
    assert [pair async for pair in engine.scan()] == in_order
    assert [pair async for pair in engine.scan(reverse=True)] == in_order[::-1]
    low, high = b"key00123", b"key00456"
    middle = [pair for pair in in_order if low <= pair[0] < high]
    assert [pair async for pair in engine.scan(low, high)] == middle
    assert [pair async for pair in engine.scan(low, high, reverse=True)] == middle[::-1]


@pytest.mark.parametrize("is_reverse", [False, True])
async def test_a_range_that_begins_behind_its_end_is_empty(
    open_engine: OpenEngine, *, is_reverse: bool
) -> None:
    engine = await open_engine(replace(ROOMY, block_bytes=512))
    await fill(engine, 1000)
    await engine.flush()  # one table of many blocks
    put(engine, b"key00500", b"in the memtable, too")
    assert not [pair async for pair in engine.scan(b"key00900", b"key00100", reverse=is_reverse)]
    assert not [pair async for pair in engine.scan(b"z", b"key00100", reverse=is_reverse)]
    assert engine.stats().scanned_bytes == 0, "and no block is asked for"


async def test_what_scans_read_is_counted(open_engine: OpenEngine) -> None:
    engine = await open_engine(ROOMY)
    await fill(engine, 1000)
    await engine.flush()
    before = engine.stats()
    table_bytes = before.table_bytes
    await everything(engine)
    after = engine.stats()
    assert (after.scans, before.scans) == (1, 0)
    assert 0.5 * table_bytes < after.scanned_bytes - before.scanned_bytes <= table_bytes
    await engine.get(b"key00001")
    assert engine.stats().figures()["scanned_bytes"] == after.scanned_bytes


async def test_a_get_that_needs_the_disk_says_so_and_then_waits_for_it(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    written = await fill(engine, 200)
    await engine.close()
    cold = await open_engine(EngineOptions(memtable_bytes=1500, block_cache_bytes=0))
    needed_disk = 0
    for key, value in written.items():
        try:
            assert cold.get_nowait(key) == value
        except NotCached:
            needed_disk += 1
            assert await cold.get(key) == value
    assert needed_disk


async def test_a_snapshot_sees_the_past_through_flushes_and_merges(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    before = await fill(engine, 150, b"old")
    with engine.snapshot() as snapshot:
        await fill(engine, 150, b"new")
        delete(engine, b"key00007")
        await fill(engine, 60, b"newer")
        await engine.wait_idle()
        assert {k: v async for k, v in engine.scan(snapshot=snapshot)} == before
        assert await engine.get(b"key00007", snapshot=snapshot) == before[b"key00007"]
        assert engine.stats().snapshots == 1
    assert engine.stats().snapshots == 0


async def test_a_scan_sees_one_moment_while_writes_go_on(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    before = await fill(engine, 300)
    seen = {}
    async for key, value in engine.scan():
        seen[key] = value
        await engine.wait_writable()
        put(engine, key, b"overwritten meanwhile, with a longer value")
        put(engine, key + b"+", b"new")
    assert seen == before


async def test_a_dropped_prefix_is_gone_at_the_cost_of_a_marker(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    written = await fill(engine, 300)
    await engine.wait_idle()
    log_before = engine.stats().log_bytes
    commit = await engine.drop_prefix(b"key001")
    await commit.synced()
    assert engine.stats().log_bytes - log_before < 1500 + len(b"key001")
    put(engine, b"key00150", b"written after the drop")
    expected = {k: v for k, v in written.items() if not k.startswith(b"key001")}
    expected[b"key00150"] = b"written after the drop"
    for _ in range(2):
        assert await everything(engine) == expected
        assert await engine.get(b"key00111") is None
        assert await engine.get(b"key00150") == b"written after the drop"
        await engine.close()
        engine = await open_engine()
    assert await everything(engine) == expected


async def test_a_folder_belongs_to_one_engine(open_engine: OpenEngine) -> None:
    await open_engine()
    with pytest.raises(BlockingIOError):
        await open_engine()


async def test_what_is_over_a_limit_is_refused_with_the_numbers(open_engine: OpenEngine) -> None:
    batch = Batch()
    with pytest.raises(InvalidArgument, match=str(MAX_RECORD_KEY_BYTES + 1)):
        batch.put(bytes(MAX_RECORD_KEY_BYTES + 1), b"")
    with pytest.raises(InvalidArgument, match="0 bytes"):
        batch.put(b"", b"")
    engine = await open_engine()
    with pytest.raises(Overloaded, match="twice its size"):
        for number in range(1000):
            put(engine, b"%d" % number, bytes(100))


async def test_a_closed_engine_answers_nothing_new(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    await engine.close()
    await engine.close()
    with pytest.raises(Unavailable, match="closed"):
        put(engine, b"k", b"v")


async def test_an_engine_that_was_closed_with_data_in_memory_flushes_nothing_more(
    open_engine: OpenEngine,
) -> None:
    engine = await open_engine()
    put(engine, b"k", b"v")
    await engine.close()
    with pytest.raises(StorageFailed, match="closed"):
        await engine.flush()


async def test_real_files_and_real_child_processes_do_the_same(tmp_path: Path) -> None:
    files = OsFileSystem()
    options = EngineOptions(memtable_bytes=30_000, table_bytes=40_000, level0_tables=2, level1_bytes=200_000)
    async with ProcessSpawner() as spawner:
        async with await Engine.open(str(tmp_path / "d"), options, files=files, spawner=spawner) as engine:
            written = await fill(engine, 3000)
            await engine.wait_idle()
            assert engine.stats().counters.compactions
            assert await everything(engine) == written
        async with await Engine.open(str(tmp_path / "d"), options, files=files, spawner=spawner) as engine:
            assert await everything(engine) == written
    files.close()


async def test_an_engine_that_is_closing_refuses_every_batch(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    closing = asyncio.create_task(engine.close())
    refused = 0
    while not closing.done():
        await asyncio.sleep(0)
        batch = Batch()
        batch.put(b"key", b"value")
        with pytest.raises(Unavailable, match="closed"):
            engine.apply(batch, is_control=True)
        refused += 1
    await closing
    assert refused


@pytest.mark.parametrize("steps", range(12))
async def test_a_flush_beside_a_close_ends_and_lets_the_close_end(
    open_engine: OpenEngine, steps: int
) -> None:
    engine = await open_engine()
    put(engine, b"k", b"v")
    closing = asyncio.create_task(engine.close())
    for _ in range(steps):  # of the loop: the flush comes at another moment of the close each time
        await asyncio.sleep(0)
    async with asyncio.timeout(20):  # only a close or a flush that waits forever takes this long
        with pytest.raises(StorageFailed, match="closed"):
            await engine.flush()
        await closing
    again = await open_engine()
    assert await again.get(b"k") == b"v"


async def test_a_flush_that_waits_when_the_engine_closes_is_told_so(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    put(engine, b"k", b"v")
    flushing = asyncio.create_task(engine.flush())
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await engine.close()
        with pytest.raises(StorageFailed, match="closed"):
            await flushing
