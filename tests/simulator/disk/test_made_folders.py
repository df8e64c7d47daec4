"""Folders whose names were not synced: a disk that keeps to POSIX and no more loses them with all below."""

from __future__ import annotations

from random import Random

import pytest

from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel


def with_a_new_folder(*, forgets_folders: bool = True, is_synced: bool = False) -> LossyDisk:
    """A file in it is synced by bytes and by name."""
    disk = LossyDisk(forgets_folders=forgets_folders)
    disk.mkdir("/data")
    disk.fsync_dir("/")
    disk.mkdir("/data/new")
    file = disk.create("/data/new/a")
    file.append(b"x")
    file.sync()
    disk.fsync_dir("/data/new")
    if is_synced:
        disk.fsync_dir("/data")
    return disk


def left_by(disk: LossyDisk, model: CrashModel) -> set[tuple[bool, bool]]:
    """Whether the folder and its file are there, of many cuts."""
    left = [LossyDisk.after(disk.moment().crash(model, Random(seed))) for seed in range(30)]
    assert all(each.is_dir("/data") for each in left)
    return {(each.is_dir("/data/new"), each.exists("/data/new/a")) for each in left}


@pytest.mark.parametrize("model", [CrashModel.PREFIX, CrashModel.ANY_ORDER, CrashModel.TORN])
def test_a_folder_goes_with_all_that_is_below_unless_the_one_above_was_synced(model: CrashModel) -> None:
    assert left_by(with_a_new_folder(), model) == {(False, False), (True, True)}
    assert left_by(with_a_new_folder(is_synced=True), model) == {(True, True)}
    assert left_by(with_a_new_folder(forgets_folders=False), model) == {(True, True)}


def test_what_a_power_cut_has_left_is_durable_and_the_next_new_folder_is_not() -> None:
    disk = with_a_new_folder(is_synced=True).cut_power(CrashModel.ANY_ORDER, Random(0))
    disk.mkdir("/data/other")
    names = {
        tuple(disk.after_kill().cut_power(CrashModel.TORN, Random(seed)).list("/data")) for seed in range(20)
    }
    assert names == {("new",), ("new", "other")}


def test_a_renamed_and_a_removed_folder() -> None:
    disk = with_a_new_folder()
    disk.mkdir("/data/more")
    disk.rename("/data/new", "/data/renamed")
    disk.remove_tree("/data/more")
    assert [folder for _, folder in disk.moment().made] == ["/data/renamed"]
