"""Cutting the power at any call: acknowledged writes stay, nothing is invented, the engine always opens."""

from __future__ import annotations

import os
from random import Random

import pytest

from node.storage.engine import Batch, Engine
from simulator.disk.engine_trace import FOLDER, TINY, InlineSpawner, check_crash, record_trace
from simulator.disk.lossy import LossyDisk
from simulator.disk.moment import CrashModel

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
    async with await Engine.open(FOLDER, TINY, files=disk, spawner=InlineSpawner()) as engine:
        sequence = engine.sequence
    for moment in moments:
        again = type(point)("recovery", moment, sequence, sequence)
        await check_crash(first, again, CrashModel.ANY_ORDER, 5)


@pytest.mark.parametrize("model", [model for model in CrashModel if model is not CrashModel.LYING])
async def test_what_was_found_after_a_kill_survives_a_power_cut_after_that(model: CrashModel) -> None:
    disk = LossyDisk()
    killed = await Engine.open(FOLDER, TINY, files=disk, spawner=InlineSpawner())
    for key in (b"synced", b"only in the page cache"):
        batch = Batch()
        batch.put(key, key)
        commit = killed.apply(batch)
        await (commit.synced() if key == b"synced" else commit.buffered())
    assert killed._runner is not None
    killed._runner.cancel()
    killed._lock.release()  # as the system does for a process that was killed
    async with await Engine.open(FOLDER, TINY, files=disk, spawner=InlineSpawner()) as engine:
        assert await engine.get(b"only in the page cache") is not None
        moment = disk.moment()
    for seed in range(10):
        left = LossyDisk.after(moment.crash(model, Random(seed)))
        async with await Engine.open(FOLDER, TINY, files=left, spawner=InlineSpawner()) as engine:
            assert not engine.corrupt_ranges()
            assert await engine.get(b"synced") is not None
            assert await engine.get(b"only in the page cache") is not None


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
