"""A scrub of an engine that is running: every damage found, and none where files merely grow or go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner
from ringmill.node.storage.check.verify import check_file
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.names import FilePart, parse_name
from ringmill.node.storage.storage_errors import CorruptBlock
from ringmill.simulator.disk.engine_trace import FOLDER, TINY
from ringmill.simulator.disk.lossy import LossyDisk

P = ParamSpec("P")
T = TypeVar("T")
OpenEngine = Callable[..., Awaitable[Engine]]
AT_ONCE = 1e9
ROOMY = replace(TINY, memtable_bytes=1 << 20)


def one(number: int) -> Batch:
    batch = Batch()
    batch.put(b"key%05d" % number, b"value %d" % number)
    return batch


def files_of(disk: LossyDisk, kind: str) -> list[str]:
    return [f"{FOLDER}/{name}" for name in disk.list(FOLDER) if kind in name]


async def fill(engine: Engine, count: int) -> None:
    for number in range(count):
        await engine.wait_writable()
        engine.apply(one(number * 7919 % count))


async def test_every_damaged_block_of_every_table_is_found(disk: LossyDisk, open_engine: OpenEngine) -> None:
    engine = await open_engine(replace(TINY, level0_tables=100, slow_at_tables=100, stop_at_tables=100))
    await fill(engine, 200)
    await engine.flush()
    assert await engine.verify(bytes_per_s=AT_ONCE) == []
    hurt = files_of(disk, ".sst")[1:4]
    for table in hurt:
        disk.flip(table, 20, 1)
    damages = await engine.verify(bytes_per_s=AT_ONCE)
    assert sorted(damage.file for damage in damages) == sorted(hurt)
    assert all(isinstance(damage, CorruptBlock) and damage.offset == 0 for damage in damages)
    await engine.wait_idle()
    assert len(engine.corrupt_ranges()) == 3


async def test_a_log_is_checked_as_far_as_it_is_synced(disk: LossyDisk, open_engine: OpenEngine) -> None:
    engine = await open_engine(ROOMY)
    for number in range(20):
        await engine.apply(one(number)).synced()
    (log,) = files_of(disk, ".log")
    synced = disk.size(log)
    await engine.apply(one(20)).buffered()
    disk.flip(log, synced + 20, 1)
    assert await engine.verify(bytes_per_s=AT_ONCE) == []
    at_rest = disk.moment()
    for at in range(0, synced, 37):
        disk.flip(log, at, 1)
        assert [damage.file for damage in check_log(disk, log, synced)] == [log], at
        disk.flip(log, at, 1)
    assert disk.moment() == at_rest
    disk.flip(log, synced - 1, 1)
    assert [damage.file for damage in await engine.verify(bytes_per_s=AT_ONCE)] == [log]
    assert await engine.get(b"key00020") == b"value 20"


def check_log(disk: LossyDisk, log: str, size: int) -> list[CorruptBlock]:
    named = parse_name(log.rpartition("/")[2])
    assert named is not None
    return [damage for step in check_file(disk, FOLDER, FilePart(named, size)) for damage in step.damages]


async def test_a_log_that_rots_under_a_running_engine_is_replaced_by_a_table_of_what_is_in_memory(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(ROOMY)
    for number in range(20):
        await engine.apply(one(number)).synced()
    (log,) = files_of(disk, ".log")
    for at in range(10, disk.size(log), 50):
        disk.flip(log, at, 1)
    assert await engine.verify(bytes_per_s=AT_ONCE)
    await engine.wait_idle()
    assert not disk.exists(log)
    assert disk.exists(log.replace("/", "/quarantine/"))
    assert await engine.verify(bytes_per_s=AT_ONCE) == []
    await engine.apply(one(20)).synced()
    await engine.close()
    again = await open_engine(ROOMY)
    assert not again.corrupt_ranges()
    assert [pair async for pair in again.scan()] == [(b"key%05d" % n, b"value %d" % n) for n in range(21)]


@pytest.mark.parametrize("harm", ["flip", "unlink", "truncate"])
async def test_a_flush_whose_log_rotted_meanwhile_writes_what_is_in_memory(
    disk: LossyDisk, open_engine: OpenEngine, harm: str
) -> None:
    engine = await open_engine(ROOMY)
    for number in range(20):
        await engine.apply(one(number)).synced()
    (log,) = files_of(disk, ".log")
    if harm == "flip":
        disk.flip(log, 200, 1)
    elif harm == "unlink":
        disk.unlink(log)
    else:
        disk.truncate(log, 200)
    await engine.flush()
    await engine.close()
    again = await open_engine(ROOMY)
    assert not again.corrupt_ranges()
    assert [pair async for pair in again.scan()] == [(b"key%05d" % n, b"value %d" % n) for n in range(20)]


class NoSpawner:
    """Children that never come to an end."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        await asyncio.Event().wait()
        raise AssertionError(f"{function} was never begun")


async def test_closed_logs_are_checked_to_their_end(disk: LossyDisk, open_engine: OpenEngine) -> None:
    engine = await open_engine(ROOMY)
    await fill(engine, 20)
    await engine.close()
    async with await Engine.open(FOLDER, ROOMY, files=disk, spawner=NoSpawner()) as engine:
        await engine.apply(one(20)).synced()
        await engine.checkpoint("copy")  # seals the memtable
        closed = files_of(disk, ".log")[:2]
        for log in closed:
            assert await engine.verify(bytes_per_s=AT_ONCE) == []
            disk.flip(log, disk.size(log) - 1, 1)
            assert [damage.file for damage in await engine.verify(bytes_per_s=AT_ONCE)] == [log]
            disk.flip(log, disk.size(log) - 1, 1)


async def test_a_log_that_was_cut_short_or_is_gone_is_damage(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(ROOMY)
    for number in range(20):
        await engine.apply(one(number)).synced()
    (log,) = files_of(disk, ".log")
    disk.truncate(log, disk.size(log) // 2)
    (damage, *_) = await engine.verify(bytes_per_s=AT_ONCE)
    assert damage.file == log
    await engine.wait_idle()
    await engine.apply(one(20)).synced()
    (log,) = files_of(disk, ".log")
    disk.unlink(log)
    (damage,) = await engine.verify(bytes_per_s=AT_ONCE)
    assert (damage.file, damage.why) == (log, "the file is missing")


@pytest.mark.parametrize("kind", ["MANIFEST", "CURRENT"])
async def test_a_damaged_manifest_is_found_and_written_anew(
    disk: LossyDisk, open_engine: OpenEngine, kind: str
) -> None:
    engine = await open_engine(TINY)
    await fill(engine, 200)
    await engine.flush()
    assert await engine.verify(bytes_per_s=AT_ONCE) == []
    (file,) = files_of(disk, kind)
    disk.flip(file, disk.size(file) - 3, 1)
    assert [damage.file for damage in await engine.verify(bytes_per_s=AT_ONCE)] == [file]
    assert await engine.verify(bytes_per_s=AT_ONCE) == []
    await engine.close()
    again = await open_engine(TINY)
    assert await again.get(b"key00123") == b"value 123"


async def test_no_false_alarm_while_files_come_grow_and_go(tmp_path: Path) -> None:
    files = OsFileSystem()
    options = replace(TINY, memtable_bytes=20_000, table_bytes=20_000, level1_bytes=60_000)
    found, passes = list[CorruptBlock](), 0
    async with (
        ProcessSpawner() as spawner,
        await Engine.open(str(tmp_path), options, files=files, spawner=spawner) as engine,
    ):
        filling = asyncio.create_task(fill(engine, 6000))
        while not filling.done():
            found += await engine.verify(bytes_per_s=AT_ONCE)
            passes += 1
        await filling
        assert engine.stats().counters.flushes > 1
    files.close()
    assert found == []
    assert passes > 1


async def test_merges_give_space_back_while_a_scrub_goes_on(disk: LossyDisk, open_engine: OpenEngine) -> None:
    engine = await open_engine(TINY)
    await fill(engine, 300)
    await engine.wait_idle()
    scrub = asyncio.create_task(engine.verify(bytes_per_s=200))
    await asyncio.sleep(0.05)
    for _ in range(3):
        await fill(engine, 300)
        await engine.flush()
    async with asyncio.timeout(10):
        while len(files_of(disk, ".sst")) > len(engine._tables.version.tables()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    scrub.cancel()
    await asyncio.wait([scrub])


async def test_a_table_that_is_merged_while_it_is_scrubbed_is_not_damage(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(TINY)
    await fill(engine, 300)
    await engine.wait_idle()
    former = files_of(disk, ".sst")
    scrub = asyncio.create_task(engine.verify(bytes_per_s=100_000))
    await asyncio.sleep(0.01)
    await fill(engine, 300)
    await engine.compact_range()
    assert not set(former) & set(files_of(disk, ".sst"))
    assert await scrub == []
    assert not engine.stats().counters.damaged_tables


async def test_a_scrub_that_outlives_its_engine_finds_nothing_wrong(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(TINY)
    await fill(engine, 200)
    scrub = asyncio.create_task(engine.verify(bytes_per_s=AT_ONCE))
    await asyncio.sleep(0)
    await engine.close()
    assert await scrub == []
    assert await engine.verify(bytes_per_s=AT_ONCE) == []
