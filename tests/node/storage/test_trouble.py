"""Failed writes and syncs, full disks, damaged files: what the engine says and what it goes on serving."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill.cluster.errors import CorruptData, DiskFull, Unavailable
from ringmill.node.metrics.storage_families import storage_families
from ringmill.node.storage.engine import Batch, Engine, EngineOptions
from ringmill.node.storage.storage_errors import CorruptRange, StorageFailed
from ringmill.simulator.disk.engine_trace import FOLDER, TINY
from ringmill.simulator.disk.lossy import Hook, LossyDisk

OpenEngine = Callable[..., Awaitable[Engine]]
ROOMY = replace(TINY, memtable_bytes=1 << 20, reserve_bytes=0)


def one(key: bytes, value: bytes) -> Batch:
    batch = Batch()
    batch.put(key, value)
    return batch


def fail(call: str, code: int, *, name: str) -> Hook:
    def hook(called: str, path: str) -> None:
        if called == call and name in path:
            raise OSError(code, "injected", path)

    return hook


async def fill(engine: Engine, count: int) -> dict[bytes, bytes]:
    written = {}
    for number in range(count):
        await engine.wait_writable()
        key, value = b"key%05d" % (number * 7919 % count), b"value %d" % number
        engine.apply(one(key, value))
        written[key] = value
    return written


@pytest.mark.parametrize("call", ["sync", "append"])
async def test_after_a_failed_log_write_nothing_unsynced_is_acknowledged_or_served(
    disk: LossyDisk, open_engine: OpenEngine, call: str
) -> None:
    engine = await open_engine(ROOMY)
    await engine.apply(one(b"old", b"1")).synced()
    assert not engine.stats().has_failed
    disk.hook = fail(call, errno.EIO, name=".log")
    commit = engine.apply(one(b"new", b"2"))
    with pytest.raises(StorageFailed, match=r"log failed.*batches up to 1 are durable"):
        await commit.synced()
    disk.hook = None
    with pytest.raises(StorageFailed):
        await commit.synced()
    with pytest.raises(StorageFailed):
        engine.apply(one(b"more", b"3"))
    with pytest.raises(StorageFailed):
        engine.get_nowait(b"new")
    assert engine.get_nowait(b"old") == b"1"
    assert engine.stats().has_failed
    await engine.close()
    again = await open_engine(ROOMY)
    assert await again.get(b"old") == b"1"


async def test_a_failed_manifest_write_is_the_end_of_writing(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(TINY)
    await engine.apply(one(b"0", bytes(50))).synced()  # the log was begun
    disk.hook = fail("sync", errno.EIO, name="MANIFEST")
    with pytest.raises(Unavailable, match="MANIFEST"):
        for number in range(1, 1000):
            await engine.wait_writable()
            await engine.apply(one(b"%d" % number, bytes(50))).synced()
    disk.hook = None
    with pytest.raises(StorageFailed, match="MANIFEST"):
        await engine.wait_idle()
    await engine.close()
    assert await (await open_engine(TINY)).get(b"0") == bytes(50)


async def test_a_flush_that_fails_is_tried_again(disk: LossyDisk, open_engine: OpenEngine) -> None:
    engine = await open_engine(TINY)
    disk.hook = fail("sync", errno.EIO, name=".tmp")
    for number in range(60):
        engine.apply(one(b"key%d" % number, bytes(30)))
    async with asyncio.timeout(10):
        while not engine.stats().counters.failed_flushes:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert "injected" in engine.stats().counters.last_failure
    disk.hook = None
    async with asyncio.timeout(10):
        await engine.wait_idle()
    figures = engine.stats().figures()
    assert figures["flushes"] and figures["failed_flushes"]
    assert engine.stats().counters.last_failure == "", "it was mended"
    assert await engine.get(b"key7") == bytes(30)


async def test_a_full_disk_makes_read_only_and_space_makes_writable_again(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(ROOMY)
    await engine.apply(one(b"before", b"1")).synced()
    disk.capacity = disk.used + 50
    lost = engine.apply(one(b"too much", bytes(200)))
    with pytest.raises(DiskFull, match="No space left"):
        await lost.synced()
    with pytest.raises(DiskFull):
        engine.apply(one(b"more", b"2"))
    assert await engine.get(b"before") == b"1"
    assert await engine.get(b"too much") == bytes(200)
    disk.capacity = None
    async with asyncio.timeout(10):
        while True:
            try:
                await engine.apply(one(b"after", b"3")).synced()
                break
            except DiskFull:
                await asyncio.sleep(0.05)
    assert lost.is_synced
    await engine.close()
    again = await open_engine(ROOMY)
    assert {key: value async for key, value in again.scan()} == {
        b"before": b"1",
        b"too much": bytes(200),
        b"after": b"3",
    }


async def test_a_full_disk_in_the_middle_of_everything_loses_nothing_synced(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    options = replace(TINY, reserve_bytes=0)
    engine = await open_engine(options)
    synced = {}
    for number in range(300):
        key = b"key%03d" % number
        if number % 120 == 60:
            disk.capacity = disk.used + 700
        try:
            await engine.wait_writable()
            await engine.apply(one(key, bytes(40))).synced()
            synced[key] = bytes(40)
        except DiskFull:
            disk.capacity = None
            await asyncio.sleep(0.6)
    await engine.close()
    again = await open_engine(options)
    found = {key: value async for key, value in again.scan()}
    assert synced.items() <= found.items()
    assert len(synced) >= 290


async def test_none_of_many_that_waited_for_one_flush_is_refused(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(TINY)

    async def write(number: int) -> None:
        await engine.wait_writable()
        engine.apply(one(b"key%03d" % number, bytes(100)))

    await asyncio.gather(*(write(number) for number in range(200)))  # 12 fit into a memtable
    assert [key async for key, _ in engine.scan()] == [b"key%03d" % number for number in range(200)]


async def test_the_reserve_is_for_control_state(disk: LossyDisk, open_engine: OpenEngine) -> None:
    options = replace(ROOMY, memtable_bytes=4000, reserve_bytes=100_000)
    engine = await open_engine(options)
    disk.capacity = disk.used + 90_000
    with pytest.raises(DiskFull, match="read-only"):
        for number in range(1000):
            await engine.wait_writable()
            engine.apply(one(b"key%d" % number, bytes(100)))
    await engine.apply(one(b"topology", b"epoch 2"), is_control=True).synced()
    disk.capacity = None
    async with asyncio.timeout(10):
        while True:
            try:
                await engine.wait_writable()
                break
            except DiskFull:
                await asyncio.sleep(0.05)
    assert await engine.get(b"topology") == b"epoch 2"


def tables_of(disk: LossyDisk) -> list[str]:
    return [f"{FOLDER}/{name}" for name in disk.list(FOLDER) if name.endswith(".sst")]


async def test_a_damaged_block_is_an_error_and_never_an_absence(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    options = replace(TINY, memtable_bytes=1 << 16, table_bytes=1 << 16, compression="none")
    engine = await open_engine(options)
    written = await fill(engine, 300)
    await engine.flush()
    (table,) = tables_of(disk)
    disk.flip(table, 150, 0x10)
    outcomes: dict[bytes, bytes | CorruptData | None] = {}
    for key in written:
        try:
            outcomes[key] = await engine.get(key)
        except CorruptData as error:
            outcomes[key] = error
    damaged = [key for key, outcome in outcomes.items() if isinstance(outcome, CorruptData)]
    assert 1 <= len(damaged) <= 20
    assert all(outcomes[key] == written[key] for key in written if key not in damaged)
    await engine.wait_idle()
    (mark,) = engine.corrupt_ranges()
    assert sorted(damaged)[0] >= mark.start
    with pytest.raises(CorruptRange):
        await engine.get(damaged[0])
    with pytest.raises(CorruptRange):
        _ = [pair async for pair in engine.scan()]
    assert disk.list(f"{FOLDER}/quarantine")
    engine.apply(one(damaged[0], b"written since"))
    assert await engine.get(damaged[0]) == b"written since"
    await engine.close()
    again = await open_engine(options)
    with pytest.raises(CorruptRange):
        await again.get(damaged[1])
    await again.mark_healed(mark)
    assert await again.get(damaged[1]) is None
    assert await again.get(damaged[0]) == b"written since"


async def test_a_table_that_cannot_be_opened_costs_its_own_range(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    options = replace(TINY, memtable_bytes=1 << 16)
    engine = await open_engine(options)
    written = await fill(engine, 300)
    await engine.flush()
    await engine.close()
    (table,) = tables_of(disk)
    disk.flip(table, disk.size(table) - 3, 1)
    again = await open_engine(options)
    with pytest.raises(CorruptRange):
        await again.get(next(iter(written)))
    assert await again.get(b"zzz") is None


async def test_damage_to_acknowledged_batches_in_a_log_is_reported_and_fences_all_keys(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(ROOMY)
    for number in range(10):
        await engine.apply(one(b"key%d" % number, b"value")).synced()
    await engine.close()
    (log,) = [f"{FOLDER}/{name}" for name in disk.list(FOLDER) if name.endswith(".log")]
    disk.flip(log, 200, 0xFF)
    again = await open_engine(ROOMY)
    assert again.sequence == 10
    (mark,) = again.corrupt_ranges()
    assert (mark.start, mark.end) == (b"", None)
    for key in (b"key1", b"absent"):
        with pytest.raises(CorruptRange):
            await again.get(key)
    again.apply(one(b"key1", b"again"))
    assert await again.get(b"key1") == b"again"


async def test_writers_are_slowed_and_then_wait_while_merging_lags(open_engine: OpenEngine) -> None:
    options = EngineOptions(
        memtable_bytes=1500, level0_tables=3, slow_at_tables=3, stop_at_tables=5, fastest_bytes_per_s=200_000
    )
    engine = await open_engine(options)
    await fill(engine, 600)
    counters = engine.stats().counters
    assert counters.slowed_writes
    await engine.wait_idle()
    assert all(level.tables < 5 for level in engine.stats().levels if level.level == 0)


@pytest.mark.parametrize("reverse", [False, True])
async def test_a_scan_stops_at_a_lost_range_even_between_two_chunks(
    disk: LossyDisk, open_engine: OpenEngine, reverse: bool
) -> None:
    engine = await open_engine(replace(TINY, level0_tables=100, slow_at_tables=100, stop_at_tables=100))
    for letter in (b"a", b"b", b"c"):
        for number in range(10):
            engine.apply(one(letter + b"%d" % number, b"value"))
        await engine.flush()
    await engine.close()
    middle = tables_of(disk)[1]
    disk.flip(middle, disk.size(middle) - 3, 1)
    again = await open_engine(TINY)
    seen = []
    with pytest.raises(CorruptRange):
        async for key, _ in again.scan(reverse=reverse):
            seen.append(key[:1])
    assert set(seen) <= {b"c" if reverse else b"a"}


async def test_a_disk_that_cannot_tell_its_space_takes_no_other_figure_away(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(ROOMY)
    core = SimpleNamespace(config=SimpleNamespace(data="data"), doors=SimpleNamespace(files=disk))
    objects = SimpleNamespace(keys=1, size_bytes=2, dead=SimpleNamespace(total=0))
    node = SimpleNamespace(core=core, replica=SimpleNamespace(engine=engine, objects=objects))

    def figures() -> dict[str, Any]:
        return {each.name: each.samples for each in storage_families(cast("Any", node), None)}

    assert figures()["disk_free_bytes"][0].value == disk.free_space("data")

    def stale(path: str) -> int:
        raise OSError(errno.ESTALE, "Stale file handle", path)

    disk.free_space = stale  # type: ignore[method-assign]
    engine._upkeep.space.check()
    assert not figures()["disk_free_bytes"]
    assert figures()["read_only"][0].value == 0.0 and figures()["store_failed"][0].value == 0.0
