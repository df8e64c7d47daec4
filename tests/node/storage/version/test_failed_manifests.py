"""A manifest that cannot be begun leaves nothing behind, and the former one goes on."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest

from ringmill.node.storage.names import manifest_name
from ringmill.node.storage.storage_errors import CorruptBlock
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.version import manifest, version
from ringmill.node.storage.version.manifest import create_manifest, read_current, read_manifest
from ringmill.node.storage.version.version import Drop, Version, VersionEdit
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


def a_table(file_id: int, low: int, high: int) -> TableMeta:
    return TableMeta(file_id, 100, b"%05d" % low, b"%05d" % high, 1, 9, 10, 0, False, 200)


async def test_a_manifest_of_many_edits_is_read_with_one_look_at_the_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And what it says is what one edit after the other makes of the version."""
    disk, looked = LossyDisk(), list[int]()
    disk.mkdir(FOLDER)
    begun = Version().apply(VersionEdit(added=tuple((2, a_table(n, 10 * n, 10 * n + 5)) for n in range(200))))
    file = create_manifest(disk, FOLDER, 1, begun)
    edits = [
        VersionEdit(removed=(3,), added=((3, a_table(3, 30, 35)),)),
        VersionEdit(removed=(3, 7), drops_added=(Drop(b"x", 5),)),
        VersionEdit(added=((0, a_table(900, 0, 500)), (0, a_table(901, 0, 500)))),
        *(VersionEdit(newest_log=number) for number in range(300)),
        VersionEdit(removed=(900,), drops_removed=(Drop(b"x", 5),), stopped_at=12),
    ]
    for edit in edits:
        await file.append(edit)
    file.close()

    def counted(tables: Sequence[TableMeta]) -> Iterator[tuple[TableMeta, TableMeta]]:
        looked.extend(meta.file_id for meta in tables)
        return pairwise(tables)

    want = begun
    for edit in edits:
        want = want.apply(edit)
    monkeypatch.setattr(version, "pairwise", counted)
    assert read_manifest(disk, FOLDER, 1) == want
    monkeypatch.undo()
    assert len(looked) == 198

    for wrong in (VersionEdit(removed=(7777,)), VersionEdit(added=((2, a_table(777, 14, 16)),))):
        file = create_manifest(disk, FOLDER, 2, begun)
        await file.append(wrong)
        file.close()
        with pytest.raises(CorruptBlock, match="edit 1: an edit"):
            read_manifest(disk, FOLDER, 2)
        disk.unlink(f"{FOLDER}/{manifest_name(2)}")
