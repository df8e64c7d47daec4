"""A flush or merge that fails is tried again and leaves nothing behind: no file, no open descriptor."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from ringmill.node.storage.engine import Batch, Engine
from ringmill.simulator.disk.engine_trace import FOLDER, TINY
from ringmill.simulator.disk.lossy import Hook, LossyDisk
from tests.node.storage.conftest import OpenEngine

PATIENCE_S = 10
UNMERGED = replace(TINY, level0_tables=100, slow_at_tables=100, stop_at_tables=100)


def one(number: int) -> Batch:
    batch = Batch()
    batch.put(b"key%05d" % number, bytes(30))
    return batch


def failing(call: str, code: int, *, name: str, after: int = 0) -> Hook:
    """Let a call on files of this name fail, but for the first ones."""
    left = after

    def hook(called: str, path: str) -> None:
        nonlocal left
        if called == call and name in path:
            left -= 1
            if left < 0:
                raise OSError(code, "injected", path)

    return hook


def names_of(disk: LossyDisk, end: str) -> list[str]:
    return [name for name in disk.list(FOLDER) if name.endswith(end)]


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def fill(engine: Engine, count: int) -> None:
    for number in range(count):
        await engine.wait_writable()
        engine.apply(one(number))


@pytest.mark.parametrize("call", ["append", "sync"])
async def test_a_flush_that_fails_leaves_no_table_behind(
    disk: LossyDisk, open_engine: OpenEngine, call: str
) -> None:
    engine = await open_engine(replace(TINY, memtable_bytes=10_000))
    disk.hook = failing(call, errno.ENOSPC, name=".tmp")
    await fill(engine, 100)
    waiting = asyncio.create_task(engine.flush())
    await until(lambda: engine.stats().counters.failed_flushes)
    assert names_of(disk, ".tmp") == []
    assert [path for path in disk.opened if path.endswith(".tmp")] == []
    disk.hook = None
    await waiting
    assert len([pair async for pair in engine.scan()]) == 100


async def test_a_merge_that_fails_leaves_no_table_behind_not_even_whole_ones(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(UNMERGED)
    await fill(engine, 400)
    await engine.flush()
    tables = names_of(disk, ".sst")
    disk.hook = failing("sync", errno.ENOSPC, name=".tmp", after=2)
    with pytest.raises(OSError, match="injected"):
        await engine.compact_range()
    assert names_of(disk, ".tmp") == []
    assert [path for path in disk.opened if path.endswith(".tmp")] == []
    assert names_of(disk, ".sst") == tables
    disk.hook = None
    await engine.compact_range()
    assert len([pair async for pair in engine.scan()]) == 400


class Killed:
    """A child that is killed when it has written its tables."""

    async def run(self, function: Callable[..., object], /, *args: object) -> object:
        await asyncio.sleep(0)
        function(*args)
        raise ChildProcessError("killed")


async def test_what_a_killed_child_wrote_is_deleted(disk: LossyDisk) -> None:
    engine = await Engine.open(FOLDER, TINY, files=disk, spawner=Killed())  # type: ignore[arg-type]
    engine.apply(one(1))
    waiting = asyncio.create_task(engine.flush())
    await until(lambda: engine.stats().counters.failed_flushes)
    assert names_of(disk, ".tmp") == []
    await engine.close()
    await asyncio.wait([waiting])


@pytest.mark.parametrize("call", ["fsync_dir", "open_read"])
async def test_a_table_that_was_renamed_and_certainly_not_named_is_deleted(
    disk: LossyDisk, open_engine: OpenEngine, call: str
) -> None:
    engine = await open_engine(UNMERGED)
    await fill(engine, 100)
    await engine.flush()
    tables = names_of(disk, ".sst")
    at_merge = [False]

    def hook(called: str, path: str) -> None:
        at_merge[0] = at_merge[0] or called == "rename"
        if called == call and at_merge[0]:
            raise OSError(errno.EMFILE, "injected", path)

    disk.hook = hook
    with pytest.raises(OSError, match="injected"):
        await engine.compact_range()
    disk.hook = None
    assert names_of(disk, ".sst") == tables
    await engine.compact_range()
    assert len([pair async for pair in engine.scan()]) == 100


@pytest.mark.parametrize("is_whole", [False, True])
async def test_a_table_that_the_manifest_may_name_stays_until_a_newer_manifest_is_in_force(
    disk: LossyDisk, open_engine: OpenEngine, is_whole: bool
) -> None:
    """The edit is whole in the file when its sync alone meets the full disk."""
    engine = await open_engine(UNMERGED)
    await fill(engine, 100)
    await engine.flush()
    tables = set(names_of(disk, ".sst"))
    disk.hook = failing("sync" if is_whole else "append", errno.ENOSPC, name="MANIFEST")
    with pytest.raises(OSError, match="injected"):
        await engine.compact_range()
    disk.hook = None
    made = set(names_of(disk, ".sst")) - tables
    assert made
    assert not {f"{FOLDER}/{name}" for name in made} & set(disk.opened)
    again = await open_engine(UNMERGED, on=disk.after_kill())
    assert not again.corrupt_ranges()
    assert len([pair async for pair in again.scan()]) == 100
    await engine.compact_range()
    await until(lambda: not made & set(names_of(disk, ".sst")))
    assert len([pair async for pair in engine.scan()]) == 100
