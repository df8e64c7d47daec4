"""The caller of an edit may be cancelled: the store goes on, and the next start reads it (E6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import pytest

from ringmill.node.storage.version.manifest import read_current, read_manifest
from ringmill.node.storage.version.version import Version, VersionEdit
from ringmill.node.storage.version.version_set import VersionSet
from ringmill.simulator.disk.engine_trace import FOLDER
from ringmill.simulator.disk.lossy import LossyDisk

P = ParamSpec("P")
T = TypeVar("T")


class ThreadedDisk(LossyDisk):
    """What was begun off the loop goes on when nobody waits for it any more; the first call takes longest."""

    turns = 1

    async def off_loop(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        turns, self.turns = self.turns, 1

        async def later() -> T:
            for _ in range(turns):
                await asyncio.sleep(0)
            return call(*args, **kwargs)

        return await asyncio.shield(asyncio.ensure_future(later()))


async def begin(disk: LossyDisk) -> VersionSet:
    disk.mkdir(FOLDER)
    return await VersionSet.begin(disk, FOLDER, Version(), {}, 1)


async def cancel_after(turns: int, waiting: asyncio.Task[None]) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])


def stored_logs(disk: LossyDisk) -> tuple[int, int | None]:
    """The newest log and the last batch of a stop in order, as the next start reads them."""
    version = read_manifest(disk, FOLDER, read_current(disk, FOLDER))
    return version.newest_log, version.stopped_at


@pytest.mark.parametrize("turns", range(4))
async def test_an_edit_that_was_cancelled_does_not_spoil_the_next_one(turns: int) -> None:
    disk = LossyDisk()
    tables = await begin(disk)
    await cancel_after(turns, asyncio.create_task(tables.commit(VersionEdit(newest_log=5))))
    await tables.note_log(7)
    await tables.note_stop(9)
    tables.close()
    assert stored_logs(disk) == (7, 9)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_new_manifest_whose_caller_was_cancelled_does_not_come_in_force_later(times: int) -> None:
    """Who waits for a caller that was cancelled may be cancelled, too, and cancels it again."""
    disk = ThreadedDisk()
    tables = await begin(disk)
    disk.turns = 50
    waiting = asyncio.create_task(tables.renew_manifest())
    for _ in range(times - 1):
        for _ in range(3):
            await asyncio.sleep(0)
        waiting.cancel()
    await cancel_after(3, waiting)
    await tables.note_log(7)
    await tables.note_stop(9)
    for _ in range(100):
        await asyncio.sleep(0)
    tables.close()
    assert stored_logs(disk) == (7, 9)
