"""Blocks that the disk cannot read: fenced when they are lost, not for an error that passes (rule E10)."""

from __future__ import annotations

import asyncio
import errno
import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest

from ringmill.cluster.errors import CorruptData
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.storage_errors import CorruptRange, UnreadableBlock
from ringmill.node.storage.upkeep import compactor
from ringmill.simulator.disk.engine_trace import FOLDER, TINY
from ringmill.simulator.disk.lossy import LossyDisk
from tests.node.storage.conftest import OpenEngine

PATIENCE_S = 10
PLAIN = replace(TINY, memtable_bytes=1 << 16, table_bytes=1 << 16, compression="none", block_bytes=600)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compactor, "READ_AGAIN_S", 0.05)
    monkeypatch.setattr(compactor, "RETRY_S", 0.01)


async def filled(engine: Engine, count: int = 300) -> list[bytes]:
    keys = [b"key%05d" % number for number in range(count)]
    for key in keys:
        batch = Batch()
        batch.put(key, b"value of " + key)
        engine.apply(batch)
    await engine.flush()
    return keys


def path_of(disk: LossyDisk, end: str) -> str:
    (name,) = [name for name in disk.list(FOLDER) if name.endswith(end)]
    return f"{FOLDER}/{name}"


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def outcomes(engine: Engine, keys: list[bytes]) -> dict[bytes, bytes | CorruptData | None]:
    found: dict[bytes, bytes | CorruptData | None] = {}
    for key in keys:
        try:
            found[key] = await engine.get(key)
        except CorruptData as error:
            found[key] = error
    return found


@pytest.mark.parametrize("by", ["get", "scan", "verify", "compact_range"])
async def test_a_bad_sector_costs_the_blocks_that_it_is_in(
    disk: LossyDisk, open_engine: OpenEngine, by: str
) -> None:
    engine = await open_engine(PLAIN)
    keys = await filled(engine)
    disk.spoil(path_of(disk, ".sst"), 3000)
    if by == "get":
        found = await outcomes(engine, keys)
        told = [type(one) for one in found.values() if isinstance(one, CorruptData)]
        assert told[0] is UnreadableBlock  # and it is fenced soon
    elif by == "scan":
        with pytest.raises(UnreadableBlock):
            _ = [pair async for pair in engine.scan()]
    elif by == "verify":
        damages = await engine.verify(bytes_per_s=1e9)
        assert {type(damage) for damage in damages} == {UnreadableBlock}
    else:
        with pytest.raises(UnreadableBlock):
            await engine.compact_range()
    await until(engine.corrupt_ranges)
    await engine.wait_idle()
    found = await outcomes(engine, keys)
    lost = [key for key, one in found.items() if isinstance(one, CorruptRange)]
    assert 1 <= len(lost) <= 40
    assert all(found[key] == b"value of " + key for key in keys if key not in lost)
    assert disk.list(f"{FOLDER}/quarantine")
    for mark in engine.corrupt_ranges():
        await engine.mark_healed(mark)
    assert set((await outcomes(engine, lost)).values()) == {None}


@pytest.mark.parametrize("is_seen_by_merges", [False, True])
async def test_an_error_that_passes_fences_nothing(
    disk: LossyDisk, open_engine: OpenEngine, is_seen_by_merges: bool
) -> None:
    engine = await open_engine(PLAIN)
    keys = await filled(engine)
    table = path_of(disk, ".sst")
    for offset in range(0, disk.size(table), 512):
        disk.spoil(table, offset)
    with pytest.raises(UnreadableBlock):
        await engine.get(keys[0])
    if is_seen_by_merges:
        await until(lambda: engine.stats().counters.failed_compactions)
    disk.mend()
    await engine.wait_idle()
    assert not engine.corrupt_ranges()
    assert engine.stats().counters.compactions == 1  # the table was written anew
    assert await outcomes(engine, keys) == {key: b"value of " + key for key in keys}


@pytest.mark.parametrize("is_at_the_end", [False, True])
async def test_what_can_be_read_again_after_a_sync_is_not_lost(
    disk: LossyDisk, open_engine: OpenEngine, is_at_the_end: bool
) -> None:
    """The disk answers again when the second merge has written what it could read, or has proved that it can
    write."""
    engine = await open_engine(PLAIN)
    keys = await filled(engine)
    table, synced = path_of(disk, ".sst"), list[str]()
    sectors = range(0, disk.size(table), 512)
    for offset in [sectors[-1]] if is_at_the_end else sectors[:4]:
        disk.spoil(table, offset)

    def hook(call: str, path: str) -> None:
        if call == "sync" and path.endswith(".tmp"):
            synced.append(path)
            disk.mend()

    await engine.verify(bytes_per_s=1e9)
    await until(lambda: engine.stats().counters.failed_compactions)
    disk.hook = hook
    await engine.wait_idle()
    assert synced
    assert not engine.corrupt_ranges()
    assert await outcomes(engine, keys) == {key: b"value of " + key for key in keys}


async def test_a_disk_that_reads_nothing_and_writes_nothing_fences_nothing(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(PLAIN)
    keys = await filled(engine)

    def hook(call: str, path: str) -> None:
        if path.endswith((".sst", ".tmp")):
            raise OSError(errno.EIO, "Input/output error", path)

    disk.hook = hook
    with pytest.raises(UnreadableBlock):
        await engine.get(keys[0])
    await until(lambda: engine.stats().counters.failed_compactions >= 3)
    disk.hook = None
    await engine.wait_idle()
    assert not engine.corrupt_ranges()
    assert await outcomes(engine, keys) == {key: b"value of " + key for key in keys}


def test_the_error_crosses_from_a_child_as_itself() -> None:
    told = pickle.loads(pickle.dumps(UnreadableBlock("data/00000007.sst", 4096, "it cannot be read")))
    assert (type(told), told.file, told.offset) == (UnreadableBlock, "data/00000007.sst", 4096)


async def test_a_log_that_cannot_be_read_is_flushed_from_memory(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(PLAIN)
    batch = Batch()
    batch.put(b"key", b"value")
    await engine.apply(batch).synced()
    disk.spoil(path_of(disk, ".log"), 0)
    async with asyncio.timeout(PATIENCE_S):
        await engine.flush()
    assert await engine.get(b"key") == b"value"
    assert not engine.corrupt_ranges()
