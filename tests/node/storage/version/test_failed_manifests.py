"""A manifest that cannot be begun leaves nothing behind, and the former one goes on."""

from __future__ import annotations

import errno
from itertools import pairwise

import pytest

from ringmill.node.storage.names import manifest_name
from ringmill.node.storage.version import manifest
from ringmill.node.storage.version.manifest import read_current, read_manifest
from ringmill.node.storage.version.version import Drop, Version
from ringmill.node.storage.version.version_set import VersionSet
from ringmill.simulator.disk.engine_trace import FOLDER
from ringmill.simulator.disk.lossy import Hook, LossyDisk

STEPS = ("create", "append", "append", "sync", "create", "append", "sync", "fsync_dir")
"""What is done before CURRENT is replaced."""


def failing_at(number: int, seen: list[str]) -> Hook:
    def hook(call: str, path: str) -> None:
        seen.append(call)
        if len(seen) == number + 1:
            raise OSError(errno.ENOSPC, "injected", path)

    return hook


@pytest.mark.parametrize("number", range(len(STEPS) + 2))
async def test_a_manifest_that_fails_is_closed_and_deleted_unless_it_may_be_in_force(number: int) -> None:
    disk, seen = LossyDisk(), list[str]()
    disk.mkdir(FOLDER)
    tables = await VersionSet.begin(disk, FOLDER, Version(), {}, 1)
    await tables.note_log(7)
    names, opened = disk.list(FOLDER), list(disk.opened)
    disk.hook = failing_at(number, seen)
    with pytest.raises(OSError, match="injected"):
        await tables.renew_manifest()
    disk.hook = None
    assert seen[: number + 1] == [*STEPS, "rename", "fsync_dir"][: number + 1]
    assert disk.opened == opened
    if number < len(STEPS):
        assert disk.list(FOLDER) == names
    assert read_manifest(disk, FOLDER, read_current(disk, FOLDER)).newest_log == 7
    await tables.note_log(9)
    assert read_manifest(disk, FOLDER, read_current(disk, FOLDER)).newest_log == 9
    assert disk.opened == [f"{FOLDER}/{manifest_name(read_current(disk, FOLDER))}"]
    tables.close()


async def test_a_manifest_that_is_long_from_its_first_edit_takes_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(manifest, "MAX_MANIFEST_BYTES", 500)
    disk, used = LossyDisk(), list[int]()
    disk.mkdir(FOLDER)
    many = Version(drops=tuple(Drop(b"prefix%04d" % number, number) for number in range(200)))
    tables = await VersionSet.begin(disk, FOLDER, many, {}, 1)
    first_bytes = tables.manifest_part.size
    assert first_bytes is not None and first_bytes > 2000
    for number in range(2, 200):
        await tables.note_log(number)
        used.append(read_current(disk, FOLDER))
    changes = sum(one != other for one, other in pairwise(used))
    assert 1 <= changes <= 4
    assert (tables.manifest_part.size or 0) <= 2 * first_bytes + 100
    assert read_manifest(disk, FOLDER, used[-1]).newest_log == 199
    tables.close()
