"""A flush or merge that fails is tried again and leaves nothing behind: no file, no open descriptor."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec, TypeVar

import pytest

from ringmill.cluster.errors import Overloaded
from ringmill.node.storage import engine as engine_module
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.storage_errors import StorageFailed
from ringmill.node.storage.upkeep import compactor, flusher
from ringmill.node.storage.upkeep.compaction_child import CompactionJob, compact
from ringmill.node.storage.upkeep.flush_child import flush_logs
from ringmill.node.storage.version import manifest
from ringmill.node.storage.version.manifest import read_current, read_manifest
from ringmill.simulator.disk.engine_trace import FOLDER, TINY, TurnSpawner
from ringmill.simulator.disk.lossy import Hook, LossyDisk
from tests.node.storage.conftest import OpenEngine

P = ParamSpec("P")
T = TypeVar("T")
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


class Dying(TurnSpawner):
    """Children that flush die, as those that the kernel kills for want of memory."""

    def __init__(self, error: OSError) -> None:
        self.error: OSError | None = error
        self.tried = 0

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self.tried += function is flush_logs
        if function is flush_logs and self.error is not None:
            raise self.error
        return await super().run(function, *args, **kwargs)


@pytest.mark.parametrize(
    "error",
    [
        ChildProcessError("worker process 7 ended with code -9"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
async def test_a_memtable_is_flushed_though_each_child_dies(
    disk: LossyDisk, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    monkeypatch.setattr(flusher, "RETRY_S", 0.01)
    dying = Dying(error)
    async with await Engine.open(FOLDER, UNMERGED, files=disk, spawner=dying) as engine:
        engine.apply(one(1))
        async with asyncio.timeout(PATIENCE_S):
            await engine.flush()
        assert dying.tried == flusher.MOST_LOST_CHILDREN
        assert names_of(disk, ".sst") and len(names_of(disk, ".log")) == 1, (
            "no log is taken for a damaged one"
        )
        engine.apply(one(2))
        async with asyncio.timeout(PATIENCE_S):
            await engine.flush()
        assert dying.tried == flusher.MOST_LOST_CHILDREN, "the next memtable has none either"
        dying.error = None
        for number, again_s in ((3, 0.0), (4, 600.0)):
            monkeypatch.setattr(flusher, "_CHILD_AGAIN_S", again_s)
            engine.apply(one(number))
            async with asyncio.timeout(PATIENCE_S):
                await engine.flush()
            assert dying.tried == flusher.MOST_LOST_CHILDREN + number - 2, "after one that lived all have one"
        assert len([key async for key, _ in engine.scan()]) == 4


async def test_a_memtable_of_many_small_records_is_full_before_its_log_is(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    options = replace(UNMERGED, memtable_bytes=1 << 20, memtable_records=10)
    engine = await open_engine(options)
    for number in range(10):
        engine.apply(one(number))
    assert len(engine._unflushed.sealed) == 1
    for number in range(15):
        engine.apply(one(number))
    assert not engine.has_space and not engine.has_spare_space
    for number in range(15, 20):
        engine.apply(one(number))
    with pytest.raises(Overloaded):
        engine.apply(one(20))
    await engine.wait_writable()
    engine.apply(one(20))
    await engine.wait_idle()


async def test_a_merge_that_fails_leaves_no_table_behind_not_even_whole_ones(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(UNMERGED)
    await fill(engine, 400)
    await engine.flush()
    disk.hook = failing("sync", errno.ENOSPC, name=".tmp", after=2)
    with pytest.raises(OSError, match="injected"):
        await engine.compact_range()
    assert names_of(disk, ".tmp") == []
    assert [path for path in disk.opened if path.endswith(".tmp")] == []
    in_force = sum(level.tables for level in engine.stats().levels)
    await until(lambda: len(names_of(disk, ".sst")) == in_force)  # a piece may have been merged before
    disk.hook = None
    await engine.compact_range()
    assert len([pair async for pair in engine.scan()]) == 400


@pytest.mark.parametrize("name", [".log", "MANIFEST"])
async def test_a_file_that_cannot_be_deleted_stays_until_the_next_start(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(manifest, "MAX_MANIFEST_BYTES", 0)  # each edit but one begins a new one
    monkeypatch.setattr(manifest, "MOST_GROWTH", 0)
    engine = await open_engine(UNMERGED)
    disk.hook = failing("unlink", errno.EIO, name=name)
    await fill(engine, 5)
    async with asyncio.timeout(PATIENCE_S):
        await engine.flush()
    await fill(engine, 5)
    await engine.flush()
    disk.hook = None
    assert engine.stats().counters.flushes == 2
    assert engine.stats().counters.failed_flushes == 0
    left = [found for found in disk.list(FOLDER) if name in found][:-1]
    assert left
    await engine.close()
    disk.hook = failing("unlink", errno.EIO, name=name)
    still = await open_engine(UNMERGED)  # a start that cannot delete it, either
    assert set(left) <= set(disk.list(FOLDER))
    await still.close()
    disk.hook = None
    again = await open_engine(UNMERGED)
    assert len([pair async for pair in again.scan()]) == 5
    assert not set(left) & set(disk.list(FOLDER))


async def test_a_start_that_fails_leaves_no_file_open(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await open_engine(UNMERGED)
    await fill(engine, 5)
    await engine.flush()
    await engine.close()
    disk.hook = failing("create", errno.ENOSPC, name="MANIFEST")
    with pytest.raises(OSError, match="injected"):
        await open_engine(UNMERGED)
    disk.hook = None

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "injected")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="injected"):
        patch.setattr(engine_module, "sweep", broken)
        await open_engine(UNMERGED)
    assert disk.opened == []
    assert len([pair async for pair in (await open_engine(UNMERGED)).scan()]) == 5


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
    with pytest.raises(StorageFailed, match="is closed"):
        await waiting


class OutOfMemory(TurnSpawner):
    """The first children that run this function meet an error that no disk explains."""

    def __init__(self, name: str, times: int) -> None:
        self._name = name
        self._times = times

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if function.__name__ == self._name and self._times:
            self._times -= 1
            raise MemoryError("injected")
        return await super().run(function, *args, **kwargs)


@pytest.mark.parametrize(("job", "function"), [("flush", flush_logs), ("compaction", compact)])
async def test_an_error_that_nobody_expected_is_logged_once_with_its_stack_and_the_job_is_tried_again(
    disk: LossyDisk,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    job: str,
    function: Callable[..., object],
) -> None:
    for module in (flusher, compactor):
        monkeypatch.setattr(module, "RETRY_S", 0.01)
    children = OutOfMemory(function.__name__, 3)
    async with await Engine.open(FOLDER, TINY, files=disk, spawner=children) as engine:
        for _ in range(2 * TINY.level0_tables):
            await fill(engine, 5)
            await engine.flush()
        counters = engine.stats().counters
        assert counters.failed_flushes + counters.failed_compactions == 3
        assert counters.flushes and counters.compactions
        assert len([pair async for pair in engine.scan()]) == 5
    told = [record for record in caplog.records if record.exc_info]
    assert [record.getMessage() for record in told] == [f"the store in {FOLDER}: {job} failed"]


class FailsAt(TurnSpawner):
    """Every merge of this table fails."""

    file_id = -1

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        for job in args:
            if isinstance(job, CompactionJob) and any(
                m.file_id == self.file_id for run in job.runs for m in run
            ):
                raise OSError(errno.ENOSPC, "injected")
        return await super().run(function, *args, **kwargs)


async def test_a_merge_that_always_fails_keeps_no_other_from_its_turn(disk: LossyDisk) -> None:
    children = FailsAt()
    async with await Engine.open(FOLDER, UNMERGED, files=disk, spawner=children) as engine:
        for _ in range(2):
            await fill(engine, 5)
            await engine.flush()
        first, second = (meta.file_id for meta in engine._tables.version.tables())
        children.file_id = first
        for file_id in (first, second):
            engine._upkeep.compactor.report_damage(file_id)
        await until(lambda: engine.stats().counters.compactions)
        left = {meta.file_id for meta in engine._tables.version.tables()}
        assert first in left and second not in left
        await fill(engine, 5)
        async with asyncio.timeout(PATIENCE_S):  # who waits for a flush alone waits for no merge
            await engine.write_tables()
        assert len(engine._tables.version.levels[0]) == 3
        assert engine.stats().counters.last_failure.startswith("compaction: "), "other jobs mend it not"
        children.file_id = -1
        async with asyncio.timeout(PATIENCE_S):  # and is tried again
            await engine.wait_idle()
        assert engine.stats().counters.compactions == 2
        assert engine.stats().counters.last_failure == ""


async def test_a_full_disk_when_a_drop_is_forgotten_does_not_end_the_store(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(replace(TINY, reserve_bytes=0))
    await fill(engine, 5)
    held = engine.snapshot()
    await engine.drop_prefix(b"nobody has it")
    await engine.flush()
    disk.hook = failing("append", errno.ENOSPC, name="MANIFEST")
    held.release()
    await until(lambda: engine.stats().counters.failed_compactions)
    disk.hook = None
    engine.apply(one(5))
    await engine.flush()
    await until(lambda: not read_manifest(disk, FOLDER, read_current(disk, FOLDER)).drops)
    assert len([pair async for pair in engine.scan()]) == 6


async def test_a_failed_merge_and_a_drop_that_cannot_be_forgotten_are_tried_again_after_a_pause(
    disk: LossyDisk,
) -> None:
    children = FailsAt()
    async with await Engine.open(
        FOLDER, replace(UNMERGED, reserve_bytes=0), files=disk, spawner=children
    ) as engine:
        await fill(engine, 5)
        held = engine.snapshot()
        await engine.drop_prefix(b"nobody has it")
        await engine.flush()
        (children.file_id,) = (meta.file_id for meta in engine._tables.version.tables())
        disk.hook = failing("append", errno.ENOSPC, name="MANIFEST")
        held.release()
        engine._upkeep.compactor.report_damage(children.file_id)
        await until(lambda: engine.stats().counters.failed_compactions >= 2)
        await asyncio.sleep(0.3)
        assert engine.stats().counters.failed_compactions < 20  # without a pause there are hundreds
        disk.hook, children.file_id = None, -1


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
