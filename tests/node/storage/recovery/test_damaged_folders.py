"""A folder in which anything is damaged or missing opens; what may be lost is an error, never an absence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from ringmill.node.storage.batch import Batch as RawBatch
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.log.framing import frame
from ringmill.node.storage.log.log_format import encode_group
from ringmill.node.storage.names import parse_name
from ringmill.node.storage.recovery import opening
from ringmill.node.storage.storage_errors import CorruptRange
from ringmill.node.storage.table.table_reader import read_footer
from ringmill.simulator.disk.engine_trace import FOLDER, TINY
from ringmill.simulator.disk.lossy import LossyDisk

OpenEngine = Callable[..., Awaitable[Engine]]
ROOMY = replace(TINY, memtable_bytes=1 << 20, table_bytes=1 << 20, compression="none")


def one(key: bytes, value: bytes) -> Batch:
    batch = Batch()
    batch.put(key, value)
    return batch


def files_of(disk: LossyDisk, kind: str) -> list[str]:
    return [f"{FOLDER}/{name}" for name in disk.list(FOLDER) if kind in name]


async def write_ten(engine: Engine) -> None:
    for number in range(10):
        await engine.apply(one(b"key%d" % number, b"value")).synced()


async def kill(engine: Engine) -> None:
    assert engine._runner is not None
    engine._runner.cancel()
    engine._runner = None
    engine._lock.release()  # as the system does for a process that was killed


def overwrite(disk: LossyDisk, path: str, first: int, size: int) -> None:
    for at in range(first, min(first + size, disk.size(path))):
        disk.flip(path, at, 0x5A)


async def expect_fenced(engine: Engine) -> None:
    """All keys are unreadable, and what is written now can be read and stays."""
    for key in (b"key1", b"never written"):
        with pytest.raises(CorruptRange):
            await engine.get(key)
    with pytest.raises(CorruptRange):
        _ = [pair async for pair in engine.scan()]
    await engine.apply(one(b"key1", b"since")).synced()
    assert await engine.get(b"key1") == b"since"
    await engine.flush()
    assert await engine.get(b"key1") == b"since"


@pytest.mark.parametrize("is_clean", [True, False])
@pytest.mark.parametrize("harm", ["overwritten", "missing", "empty"])
async def test_the_loss_of_a_whole_log_is_noticed(
    disk: LossyDisk, open_engine: OpenEngine, harm: str, is_clean: bool
) -> None:
    engine = await open_engine(ROOMY)
    await write_ten(engine)
    await (engine.close() if is_clean else kill(engine))
    (log,) = files_of(disk, ".log")
    if harm == "overwritten":
        overwrite(disk, log, 0, disk.size(log))
    elif harm == "missing":
        disk.unlink(log)
    else:
        disk.truncate(log, 0)
    again = await open_engine(ROOMY)
    await expect_fenced(again)
    assert again.sequence > 10
    await again.close()
    third = await open_engine(ROOMY)
    assert await third.get(b"key1") == b"since"
    assert len(third.corrupt_ranges()) == 1


async def test_a_log_that_lost_its_end_after_an_orderly_stop_is_noticed(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(ROOMY)
    await write_ten(engine)
    await engine.close()
    (log,) = files_of(disk, ".log")
    disk.truncate(log, 300)
    again = await open_engine(ROOMY)
    (mark,) = again.corrupt_ranges()
    assert mark.sequence == again.sequence == 10
    await expect_fenced(again)
    assert await again.survivor(b"key0") == b"value"


@pytest.mark.parametrize("at", [3, 20, 34])
async def test_a_damaged_header_costs_no_batch(disk: LossyDisk, open_engine: OpenEngine, at: int) -> None:
    engine = await open_engine(ROOMY)
    await write_ten(engine)
    await kill(engine)
    (log,) = files_of(disk, ".log")
    disk.flip(log, at, 1)
    again = await open_engine(ROOMY)
    if at < 34:
        assert not again.corrupt_ranges()
        assert len([pair async for pair in again.scan()]) == 10
    else:  # the first byte behind it belongs to the first batch
        with pytest.raises(CorruptRange):
            await again.get(b"key0")
        assert await again.get(b"key1") == b"value"  # newer than what was lost


async def test_a_damaged_log_goes_into_quarantine_and_what_is_left_of_it_into_a_table(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(ROOMY)
    await write_ten(engine)
    await engine.close()
    (log,) = files_of(disk, ".log")
    disk.flip(log, 200, 0xFF)
    damaged = disk.read_bytes(log)
    again = await open_engine(ROOMY)
    await again.wait_idle()
    assert not disk.exists(log)
    assert disk.read_bytes(log.replace("/", "/quarantine/")) == damaged
    assert await again.survivor(b"key0") == await again.survivor(b"key9") == b"value"
    (mark,) = again.corrupt_ranges()
    await again.mark_healed(mark)
    await again.close()
    third = await open_engine(ROOMY)
    assert not third.corrupt_ranges()  # a log that is gone is not found damaged once more
    assert await third.get(b"key9") == b"value"


def _framed_behind(disk: LossyDisk, log: str, payload: bytes) -> None:
    named = parse_name(log.rpartition("/")[2])
    assert named is not None
    file = disk.open_append(log)
    file.append(frame(named.file_id, disk.size(log), payload))
    file.sync()


@pytest.mark.parametrize("sequence", [3, 1 << 60])
async def test_a_group_with_an_impossible_sequence_is_fenced(
    disk: LossyDisk, open_engine: OpenEngine, sequence: int
) -> None:
    engine = await open_engine(ROOMY)
    await write_ten(engine)
    await kill(engine)
    (log,) = files_of(disk, ".log")
    batch = RawBatch()
    batch.put(b"key3", b"out of order")
    _framed_behind(disk, log, encode_group(2, sequence, [batch.encode()]))
    again = await open_engine(ROOMY)
    assert await again.survivor(b"key3") == b"value"
    if sequence == 3:
        await expect_fenced(again)
    else:
        assert await again.get(b"key3") == b"value"
    await again.apply(one(b"more", b"1")).synced()
    await again.flush()
    assert await again.get(b"more") == b"1"


async def test_a_batch_without_sense_behind_a_right_checksum_is_fenced(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(ROOMY)
    await write_ten(engine)
    await kill(engine)
    (log,) = files_of(disk, ".log")
    _framed_behind(disk, log, encode_group(10, 11, [b"\1\1\0\1\0\0\0kv\xff\xff"]))
    again = await open_engine(ROOMY)
    assert again.sequence == 11
    await expect_fenced(again)


@pytest.mark.parametrize("harm", ["missing", "cut", "footer", "empty"])
async def test_a_table_that_is_gone_costs_its_own_range(
    disk: LossyDisk, open_engine: OpenEngine, harm: str
) -> None:
    engine = await open_engine(ROOMY)
    await write_ten(engine)
    await engine.flush()
    await engine.apply(one(b"other", b"1")).synced()
    await engine.flush()
    await engine.close()
    table = files_of(disk, ".sst")[0]
    match harm:
        case "missing":
            disk.unlink(table)
        case "cut":
            disk.truncate(table, disk.size(table) // 2)
        case "footer":
            disk.flip(table, disk.size(table) - 3, 1)
        case _:
            disk.truncate(table, 0)
    again = await open_engine(ROOMY)
    for key in (b"key1", b"key5x"):
        with pytest.raises(CorruptRange):
            await again.get(key)
    assert await again.get(b"other") == b"1"
    assert await again.get(b"zzz") is None
    assert disk.exists(table.replace("/", "/quarantine/")) == (harm != "missing")
    await again.apply(one(b"key1", b"since")).synced()
    await again.close()
    third = await open_engine(ROOMY)
    assert await third.get(b"key1") == b"since"
    with pytest.raises(CorruptRange):
        await third.get(b"key2")


@pytest.mark.parametrize("harm", ["missing", "cut"])
async def test_a_merge_whose_input_is_gone_marks_it_and_goes_on(
    disk: LossyDisk, open_engine: OpenEngine, harm: str
) -> None:
    options = replace(ROOMY, level0_tables=2)
    engine = await open_engine(options)
    await write_ten(engine)
    await engine.flush()
    (table,) = files_of(disk, ".sst")
    if harm == "missing":
        disk.unlink(table)
    else:
        disk.truncate(table, 20)
    for number in range(5, 15):
        await engine.apply(one(b"key%d" % number, b"newer")).synced()
    await engine.flush()
    assert engine.stats().counters.failed_compactions == 0
    assert await engine.get(b"key7") == b"newer"
    with pytest.raises(CorruptRange):
        await engine.get(b"key2")
    assert await engine.get(b"other") is None


@pytest.mark.parametrize("part", ["filter", "properties"])
async def test_a_damaged_filter_or_properties_cost_nothing(
    disk: LossyDisk, open_engine: OpenEngine, part: str
) -> None:
    engine = await open_engine(ROOMY)
    await write_ten(engine)
    await engine.flush()
    await engine.close()
    (table,) = files_of(disk, ".sst")
    named = parse_name(table.rpartition("/")[2])
    assert named is not None
    footer = read_footer(disk.open_read(table), named.file_id)
    handle = footer.filter_at if part == "filter" else footer.properties_at
    disk.flip(table, handle.offset, 1)
    again = await open_engine(ROOMY)
    assert await again.get(b"key7") == b"value"
    await again.wait_idle()
    assert await again.get(b"key7") == b"value"
    assert not again.corrupt_ranges()
    assert await again.verify(bytes_per_s=1e9) == []
    await again.close()
    assert not disk.exists(table)  # written anew


async def test_without_the_manifests_word_a_lost_log_is_an_absence(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The safeguard switched off: the tests above are worth something."""
    monkeypatch.setattr(opening, "expect_all", lambda *arguments: None)
    engine = await open_engine(ROOMY)
    await write_ten(engine)
    await engine.close()
    (log,) = files_of(disk, ".log")
    overwrite(disk, log, 0, disk.size(log))
    again = await open_engine(ROOMY)
    assert await again.get(b"key1") is None
