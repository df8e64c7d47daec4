"""A log that cannot be begun now, for want of space or descriptors, is begun later, and nothing is lost."""

from __future__ import annotations

import asyncio
import errno
import random
from dataclasses import replace

import pytest

from ringmill.cluster.errors import DiskFull
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.log import log_file, write_ahead_log
from ringmill.node.storage.storage_errors import StorageFailed
from ringmill.node.storage.upkeep import flusher, space
from ringmill.node.storage.version import manifest, version_set
from ringmill.simulator.disk.engine_trace import FOLDER, TINY
from ringmill.simulator.disk.lossy import Hook, LossyDisk
from ringmill.simulator.disk.moment import CrashModel
from tests.node.storage.conftest import OpenEngine

PATIENCE_S = 10
ROOMY = replace(TINY, memtable_bytes=1 << 20, reserve_bytes=0)


def one(key: bytes) -> Batch:
    batch = Batch()
    batch.put(key, b"value")
    return batch


def failing(call: str, name: str, code: int) -> Hook:
    def hook(called: str, path: str) -> None:
        if called == call and name in path:
            raise OSError(code, "injected", path)

    return hook


async def written_in_the_end(engine: Engine, key: bytes) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await engine.apply(one(key)).synced()
                return
            except DiskFull:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("call", "name", "code"),
    [
        ("create", ".log", errno.ENOSPC),
        ("append", ".log", errno.ENOSPC),
        ("sync", ".log", errno.ENOSPC),
        ("sync", ".log", errno.EDQUOT),
        ("fsync_dir", FOLDER, errno.ENOSPC),
        ("sync", "MANIFEST", errno.ENOSPC),
        ("create", "MANIFEST", errno.ENOSPC),
        ("create", ".log", errno.EMFILE),
        ("fsync_dir", FOLDER, errno.EMFILE),
        ("create", "MANIFEST", errno.EMFILE),
    ],
)
async def test_a_log_is_begun_later(
    disk: LossyDisk,
    open_engine: OpenEngine,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    name: str,
    code: int,
) -> None:
    monkeypatch.setattr(version_set, "_IDS_AT_ONCE", 0)  # each number is reserved by an edit of its own
    monkeypatch.setattr(write_ahead_log, "_BEGIN_AGAIN_S", 0.01)
    monkeypatch.setattr(flusher, "RETRY_S", 0.01)
    monkeypatch.setattr(space, "_POLL_S", 0.01)
    engine = await open_engine(ROOMY)
    await engine.apply(one(b"before")).synced()
    if (call, name) == ("create", "MANIFEST"):
        monkeypatch.setattr(manifest, "MAX_MANIFEST_BYTES", 0)  # the next edit but one begins a new one
        monkeypatch.setattr(manifest, "MOST_GROWTH", 0)
        await engine.fence(b"nobody", b"nothing")
    disk.hook = failing(call, name, code)
    flushing = asyncio.create_task(engine.flush())
    await asyncio.sleep(0.1)
    between = engine.apply(one(b"between")) if engine.read_only_reason is None else None
    await asyncio.sleep(0.05)
    disk.hook = None
    await written_in_the_end(engine, b"after")
    await flushing
    assert between is None or between.is_synced
    assert engine.read_only_reason is None
    logs = [path for path in disk.opened if path.endswith(".log")]
    assert logs == [f"{FOLDER}/{found}" for found in disk.list(FOLDER) if found.endswith(".log")]
    assert len(logs) == 1
    await engine.close()
    again = await open_engine(ROOMY)
    found = {key async for key, _ in again.scan(b"a", b"d")}
    assert found == {b"before", b"after"} | ({b"between"} if between else set())


@pytest.mark.parametrize("is_cut_late", [False, True])
async def test_a_disk_that_finds_space_at_the_sync_is_only_full(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch, is_cut_late: bool
) -> None:
    monkeypatch.setattr(space, "_POLL_S", 0.01)
    engine = await open_engine(ROOMY)
    await engine.apply(one(b"before")).synced()
    buffered = engine.apply(one(b"buffered"))
    await buffered.buffered()
    truncated = []

    def late(called: str, path: str) -> None:
        if not path.endswith(".log"):
            return
        if called == "sync" or (called == "append" and is_cut_late):
            raise OSError(errno.ENOSPC, "injected", path)
        if called == "truncate":
            truncated.append(path)
            if is_cut_late and len(truncated) == 1:
                raise OSError(errno.ENOSPC, "injected", path)

    disk.hook = late
    refused = engine.apply(one(b"refused"))
    with pytest.raises(DiskFull, match="injected"):
        await refused.synced()
    assert not buffered.is_synced
    assert engine.get_nowait(b"before") == b"value"
    async with asyncio.timeout(PATIENCE_S):
        while len(truncated) < 1 + is_cut_late:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    disk.hook = None
    await written_in_the_end(engine, b"after")
    assert len(truncated) == 1 + is_cut_late, "once, however often it is tried"
    assert buffered.is_synced
    assert refused.is_synced, "its outcome was unknown: what waited is written first"
    again = await open_engine(ROOMY, on=disk.cut_power(CrashModel.PREFIX, random.Random(1)))
    assert [key async for key, _ in again.scan()] == [b"after", b"before", b"buffered", b"refused"]


async def test_whoever_waits_while_the_log_waits_for_space_is_refused_at_once(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "_POLL_S", PATIENCE_S)
    engine, told = await open_engine(ROOMY), list[object]()
    buffered = engine.apply(one(b"buffered"))
    await buffered.buffered()
    disk.hook = failing("sync", ".log", errno.ENOSPC)
    with pytest.raises(DiskFull, match="injected"):
        await engine.apply(one(b"refused")).synced()
    buffered.tell_synced(told.append)
    buffered.tell_buffered(told.append)
    async with asyncio.timeout(PATIENCE_S / 2):
        for waiting in (buffered.synced(), buffered.buffered()):
            with pytest.raises(DiskFull, match="injected"):
                await waiting
    assert [type(each) for each in told] == [DiskFull, DiskFull]


@pytest.mark.parametrize("is_told_at_the_end", [False, True])
async def test_what_is_buffered_outlives_a_kill_and_a_stop_of_a_node_that_finds_its_disk_full(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch, is_told_at_the_end: bool
) -> None:
    monkeypatch.setattr(space, "_POLL_S", PATIENCE_S)
    engine = await open_engine(ROOMY)
    await engine.apply(one(b"before")).synced()
    await engine.apply(one(b"buffered")).buffered()
    disk.hook = failing("sync", ".log", errno.ENOSPC)
    if not is_told_at_the_end:
        with pytest.raises(DiskFull, match="injected"):
            await engine.apply(one(b"refused")).synced()
    killed = disk.after_kill()
    await engine.close()
    disk.hook = None
    for left in (killed, disk.after_kill()):
        again = await open_engine(ROOMY, on=left)
        assert {key async for key, _ in again.scan()} >= {b"before", b"buffered"}


async def test_an_error_at_the_close_of_a_log_that_could_not_grow_is_that_of_its_sync(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "_POLL_S", 0.01)
    engine = await open_engine(ROOMY)
    buffered = engine.apply(one(b"buffered"))
    await buffered.buffered()
    file = engine._log._logs[0].file
    assert file is not None
    close = file.close

    def close_late() -> None:
        close()
        raise OSError(errno.ENOSPC, "injected at close")

    monkeypatch.setattr(file, "close", close_late)
    disk.hook = failing("append", ".log", errno.ENOSPC)
    with pytest.raises(DiskFull, match="injected"):
        await engine.apply(one(b"refused")).synced()
    assert not buffered.is_synced
    disk.hook = None
    await written_in_the_end(engine, b"after")
    again = await open_engine(ROOMY, on=disk.cut_power(CrashModel.PREFIX, random.Random(1)))
    assert [key async for key, _ in again.scan()] == [b"after", b"buffered", b"refused"]


async def test_what_is_not_in_memory_any_more_makes_it_final_and_says_so(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "MOST_KEPT_BYTES", 10)
    engine = await open_engine(ROOMY)
    await engine.apply(one(b"before")).synced()
    await engine.apply(one(b"buffered")).buffered()
    disk.hook = failing("sync", ".log", errno.ENOSPC)
    with pytest.raises(StorageFailed) as caught:
        await engine.apply(one(b"refused")).synced()
    assert caught.value.hint == "free some space and restart the node"
    disk.hook = None
    again = await open_engine(ROOMY, on=disk.cut_power(CrashModel.PREFIX, random.Random(1)))
    assert await again.get(b"before") == b"value"


async def test_a_group_of_any_size_waits_for_space_when_its_sync_finds_the_disk_full(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "MOST_KEPT_BYTES", 10)
    engine = await open_engine(ROOMY)
    await engine.apply(one(b"before")).synced()
    disk.hook = failing("sync", ".log", errno.ENOSPC)
    with pytest.raises(DiskFull):
        await engine.apply(one(b"refused")).synced()
    disk.hook = None
    await written_in_the_end(engine, b"after")
    again = await open_engine(ROOMY, on=disk.cut_power(CrashModel.PREFIX, random.Random(1)))
    assert {key async for key, _ in again.scan()} == {b"before", b"refused", b"after"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE])
async def test_a_store_that_cannot_begin_a_log_can_be_closed(
    disk: LossyDisk, open_engine: OpenEngine, code: int
) -> None:
    engine = await open_engine(ROOMY)
    await engine.apply(one(b"before")).synced()
    disk.hook = failing("create", ".log", code)
    flushing = asyncio.create_task(engine.flush())
    await asyncio.sleep(0)
    lost = engine.apply(one(b"lost"))
    async with asyncio.timeout(PATIENCE_S):
        await engine.close()
    assert not lost.is_synced
    await asyncio.wait([flushing])
    flushing.exception()
    disk.hook = None
    again = await open_engine(ROOMY)
    assert {key async for key, _ in again.scan()} == {b"before"}
