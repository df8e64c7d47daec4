"""Cutting the power at any call: acknowledged writes stay, nothing is invented, the engine always opens."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from random import Random

import pytest

from ringmill.cluster.errors import CorruptData
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.storage_errors import StorageFailed
from ringmill.simulator.disk.engine_trace import FOLDER, TINY, TurnSpawner, check_crash, record_trace
from ringmill.simulator.disk.lossy import Hook, LossyDisk
from ringmill.simulator.disk.moment import CrashModel, Moment

STATES = int(os.environ.get("RINGMILL_CRASH_STATES", "300"))


@pytest.mark.parametrize("model", list(CrashModel))
async def test_no_acknowledged_write_is_lost_whatever_survives(model: CrashModel) -> None:
    trace = await record_trace(seed=7, operations=300)
    assert trace.acked > 200
    stride = max(1, len(trace.points) * len(CrashModel) // STATES)
    outcomes = [
        await check_crash(trace, point, model, seed) for seed, point in enumerate(trace.points[::stride])
    ]
    assert outcomes.count("kept") >= (1 if model is CrashModel.LYING else len(outcomes))


async def test_every_call_of_a_short_story_may_be_the_last() -> None:
    trace = await record_trace(seed=1, operations=100)
    assert trace.acked > 50 and len(trace.points) > 100
    for seed, point in enumerate(trace.points):
        for model in (CrashModel.ANY_ORDER, CrashModel.TORN):
            await check_crash(trace, point, model, seed)


async def test_a_crash_during_recovery_costs_nothing_either() -> None:
    first = await record_trace(seed=3, operations=120)
    point = first.points[-20]
    left = point.moment.crash(CrashModel.TORN, Random(1))
    moments = []
    disk = LossyDisk.after(left)
    disk.hook = lambda call, path: moments.append(disk.moment())
    async with await Engine.open(FOLDER, TINY, files=disk, spawner=TurnSpawner()) as engine:
        sequence = engine.sequence
    assert len(moments) > 10
    for moment in moments:
        again = type(point)("recovery", moment, sequence, sequence)
        await check_crash(first, again, CrashModel.ANY_ORDER, 5)


async def test_a_power_cut_while_a_killed_engine_starts_again_costs_nothing_either() -> None:
    trace = await record_trace(seed=1, operations=80, with_kills=True)
    assert trace.acked > 50 and len(trace.points) > 100
    models = [model for model in CrashModel if model is not CrashModel.LYING]
    for point in trace.points[::3]:
        disk, moments = point.killed, list[Moment]()
        assert disk is not None
        disk.hook = lambda call, path, disk=disk, moments=moments: moments.append(disk.moment())
        async with await Engine.open(FOLDER, TINY, files=disk, spawner=TurnSpawner()):
            disk.hook = None
        assert moments
        for seed, moment in enumerate(moments[::4]):
            again = replace(point, call=f"{point.call}, then in the start", moment=moment)
            await check_crash(trace, again, models[seed % len(models)], seed)


@pytest.mark.parametrize("model", [model for model in CrashModel if model is not CrashModel.LYING])
async def test_what_was_found_after_a_kill_survives_a_power_cut_after_that(model: CrashModel) -> None:
    disk = LossyDisk()
    killed = await Engine.open(FOLDER, TINY, files=disk, spawner=TurnSpawner())
    for key in (b"synced", b"only in the page cache"):
        batch = Batch()
        batch.put(key, key)
        commit = killed.apply(batch)
        await (commit.synced() if key == b"synced" else commit.buffered())
    assert killed._runner is not None
    killed._runner.cancel()
    killed._lock.release()  # as the system does for a process that was killed
    async with await Engine.open(FOLDER, TINY, files=disk, spawner=TurnSpawner()) as engine:
        assert await engine.get(b"only in the page cache") is not None
        moment = disk.moment()
    for seed in range(10):
        left = LossyDisk.after(moment.crash(model, Random(seed)))
        async with await Engine.open(FOLDER, TINY, files=left, spawner=TurnSpawner()) as engine:
            assert not engine.corrupt_ranges()
            assert await engine.get(b"synced") is not None
            assert await engine.get(b"only in the page cache") is not None


class OnlySyncsAgain(LossyDisk):
    """A disk door that believes a sync after a failed one: the safeguard switched off."""

    def rewrite(self, path: str) -> None:
        self.open_append(path).sync()


async def _survives_a_failed_sync(disk: LossyDisk) -> bool:
    """Whether a write whose sync failed, found and served by a restart, outlives a power cut."""
    killed = await Engine.open(FOLDER, TINY, files=disk, spawner=TurnSpawner())
    await _until_begun(killed)
    disk.hook = _fails_to_sync(disk, ".log")
    with pytest.raises(StorageFailed):
        await killed.apply(_put()).synced()
    disk.hook = None
    await killed.close()
    async with await Engine.open(FOLDER, TINY, files=disk, spawner=TurnSpawner()) as engine:
        assert await engine.get(b"key") == b"value"
        moment = disk.moment()
    left = LossyDisk.after(moment.crash(CrashModel.PREFIX, Random(1)))
    try:
        async with await Engine.open(FOLDER, TINY, files=left, spawner=TurnSpawner()) as engine:
            return await engine.get(b"key") == b"value"
    except CorruptData:
        return False


async def test_what_a_failed_sync_left_in_the_page_cache_is_on_the_disk_before_it_is_served() -> None:
    assert await _survives_a_failed_sync(LossyDisk())
    assert not await _survives_a_failed_sync(OnlySyncsAgain())


@pytest.mark.parametrize("model", [model for model in CrashModel if model is not CrashModel.LYING])
async def test_a_start_deletes_nothing_before_the_edit_that_replaces_it_is_on_the_disk(
    model: CrashModel,
) -> None:
    disk = LossyDisk()
    killed = await Engine.open(FOLDER, TINY, files=disk, spawner=TurnSpawner())
    await killed.apply(_put()).synced()
    disk.hook = _fails_to_sync(disk, "MANIFEST-00000001")
    with pytest.raises(StorageFailed):
        await killed.flush()  # its edit, which makes the log unneeded, can be read and is not on the disk
    disk.hook = None
    await killed.close()
    moments: list[Moment] = []
    disk.hook = lambda call, path: moments.append(disk.moment())
    async with await Engine.open(FOLDER, TINY, files=disk, spawner=TurnSpawner()):
        disk.hook = None
    for seed, moment in enumerate(moments * 4):
        left = LossyDisk.after(moment.crash(model, Random(seed)))
        async with await Engine.open(FOLDER, TINY, files=left, spawner=TurnSpawner()) as engine:
            assert await engine.get(b"key") == b"value"


def _put() -> Batch:
    batch = Batch()
    batch.put(b"key", b"value")
    return batch


def _fails_to_sync(disk: LossyDisk, suffix: str) -> Hook:
    def fail(call: str, path: str) -> None:
        if call == "sync" and path.endswith(suffix):
            disk.give_up(path)
            raise OSError(errno.EIO, "Input/output error", path)

    return fail


async def _until_begun(engine: Engine) -> None:
    """The engine has a log: the next sync of it is that of a write."""
    batch = Batch()
    batch.put(b"first", b"")
    await engine.apply(batch).synced()


class NeverSyncs(LossyDisk):
    """A disk door whose writes are never made durable: the safeguard switched off."""

    def _sync(self, path: str, file: object) -> None:
        return None


class NeverSyncsFolders(LossyDisk):
    def fsync_dir(self, path: str) -> None:
        return None


@pytest.mark.parametrize("broken", [NeverSyncs, NeverSyncsFolders])
async def test_the_suite_turns_red_without_syncs(broken: type[LossyDisk]) -> None:
    trace = await record_trace(seed=7, operations=60, disk=broken())
    with pytest.raises(AssertionError):
        for seed, point in enumerate(trace.points):
            await check_crash(trace, point, CrashModel.ANY_ORDER, seed)
