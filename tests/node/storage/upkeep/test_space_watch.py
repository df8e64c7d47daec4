"""Free space is looked at twice a second, and half as often while there is plenty of it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from random import Random
from typing import cast

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.upkeep.space import FEWEST_FILES, SpaceWatch, needed_space
from ringmill.node.storage.version.version import Version
from ringmill.simulator.world.virtual_loop import VirtualLoop

OPTIONS = EngineOptions()
NEEDED_BYTES = needed_space(Version(), OPTIONS).total_bytes
WATCHED_S = 20


class Disk:
    """A disk with some free space, and nothing else that a watch asks for."""

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes
        self.free_inodes = 1000
        self.error: OSError | None = None

    def free_files(self, folder: str) -> int:
        return self.free_inodes

    def free_space(self, folder: str) -> int:
        if self.error is not None:
            raise self.error
        return self.free_bytes


def looks(disk: Disk, then_free_bytes: int | None = None) -> tuple[int, SpaceWatch]:
    """How often it is looked at in `WATCHED_S` seconds, the free space being another after half of them."""
    loop, seen = VirtualLoop(Random(1)), list[None]()
    watch = SpaceWatch("store", OPTIONS, cast("FileSystem", disk), Version)

    async def story() -> None:
        watching = asyncio.create_task(watch.run(lambda: seen.append(None)))
        await asyncio.sleep(WATCHED_S / 2)
        disk.free_bytes = disk.free_bytes if then_free_bytes is None else then_free_bytes
        await asyncio.sleep(WATCHED_S / 2)
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching

    loop.run_until_complete(story())
    loop.drop_everything()
    return len(seen), watch


def test_a_disk_that_is_nearly_full_is_looked_at_twice_a_second() -> None:
    times, watch = looks(Disk(2 * NEEDED_BYTES))
    assert 2 * WATCHED_S - 2 <= times <= 2 * WATCHED_S
    assert watch.refusal is None


def test_a_system_that_cannot_tell_the_free_space_changes_nothing_and_is_asked_again() -> None:
    disk = Disk(NEEDED_BYTES - 1)
    watch = SpaceWatch("store", OPTIONS, cast("FileSystem", disk), Version)
    watch.check()
    assert watch.free_bytes == NEEDED_BYTES - 1
    disk.error = OSError(errno.EIO, "Input/output error", "store")
    watch.check()
    assert watch.refusal is not None and watch.free_bytes is None
    disk.error, disk.free_bytes = None, NEEDED_BYTES
    watch.check()
    assert watch.refusal is None and watch.free_bytes == NEEDED_BYTES


def test_a_disk_without_inodes_takes_no_writes_until_there_are_some() -> None:
    disk = Disk(100 * NEEDED_BYTES)
    watch = SpaceWatch("store", OPTIONS, cast("FileSystem", disk), Version)
    disk.free_inodes = 3
    watch.check()
    assert watch.refusal is not None and "3 more files can be made" in watch.refusal.message
    assert watch.free_bytes == 100 * NEEDED_BYTES
    disk.free_inodes = FEWEST_FILES
    watch.check()
    assert watch.refusal is None


def test_a_disk_with_plenty_of_space_is_looked_at_once_a_second_and_its_end_is_seen() -> None:
    times, _ = looks(Disk(100 * NEEDED_BYTES))
    assert WATCHED_S - 2 <= times <= WATCHED_S + 1
    times, watch = looks(Disk(100 * NEEDED_BYTES), then_free_bytes=NEEDED_BYTES - 1)
    assert times > 1.4 * WATCHED_S
    assert watch.refusal is not None
