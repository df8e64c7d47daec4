"""The disk that forgets: durable is only what was synced, under every crash model."""

from __future__ import annotations

import errno
from random import Random

import pytest

from ringmill.simulator.disk.lossy import SECTOR_BYTES, LossyDisk
from ringmill.simulator.disk.moment import CrashModel

HONEST = [model for model in CrashModel if model is not CrashModel.LYING]


def disk_with_file() -> LossyDisk:
    disk = LossyDisk()
    disk.mkdir("d")
    file = disk.create("d/a")
    file.append(b"synced")
    file.sync()
    disk.fsync_dir("d")
    file.append(b"x" * 2000)
    return disk


@pytest.mark.parametrize("model", HONEST)
def test_synced_bytes_survive_every_honest_crash(model: CrashModel) -> None:
    for seed in range(50):
        left = disk_with_file().cut_power(model, Random(seed))
        body = left.read_bytes("d/a")
        assert body.startswith(b"synced")
        assert set(body[6:]) <= {0, ord("x")}


@pytest.mark.parametrize("model", HONEST)
def test_what_was_not_synced_is_sometimes_lost(model: CrashModel) -> None:
    bodies = {disk_with_file().cut_power(model, Random(seed)).read_bytes("d/a") for seed in range(50)}
    assert len(bodies) > 1


@pytest.mark.parametrize("events", [1, 300, 3000])
def test_a_prefix_ends_behind_each_unsynced_write_however_long_the_disk_has_been_in_use(events: int) -> None:
    disk = LossyDisk()
    disk.mkdir("d")
    file = disk.create("d/a")
    disk.fsync_dir("d")
    for _ in range(events):
        file.append(b".")
        file.sync()
    for _ in range(5):
        file.append(b"x")
    moment = disk.moment()
    sizes = {len(moment.crash(CrashModel.PREFIX, Random(seed)).files["d/a"]) for seed in range(100)}
    assert sizes == {events + more for more in range(6)}


def test_a_full_disk_is_full_after_a_power_cut() -> None:
    disk = LossyDisk(capacity=10)
    disk.mkdir("d")
    disk.fsync_dir("d")
    left = disk.cut_power(CrashModel.PREFIX, Random(0))
    with pytest.raises(OSError, match="No space left"):
        left.create("d/a").append(b"x" * 11)
    assert left.after_kill().cut_power(CrashModel.TORN, Random(0)).capacity == 10


def test_a_lying_disk_loses_what_it_called_synced() -> None:
    sizes = {disk_with_file().cut_power(CrashModel.LYING, Random(seed)).used for seed in range(50)}
    assert 0 in sizes


def test_a_torn_write_ends_at_a_sector() -> None:
    torn = [disk_with_file().cut_power(CrashModel.TORN, Random(seed)).read_bytes("d/a") for seed in range(50)]
    assert any(b"\0" in body[6:] and b"x" in body[6:] for body in torn)
    assert all(len(body) in (6, 512, 1024, 1536, 2006) for body in torn)


def test_a_name_is_durable_only_after_its_folder_was_synced() -> None:
    disk = LossyDisk()
    disk.mkdir("d")
    file = disk.create("d/a")
    file.append(b"x")
    file.sync()
    assert {disk.moment().crash(CrashModel.ANY_ORDER, Random(s)).files.get("d/a") for s in range(20)} == {
        None,
        b"x",
    }
    disk.fsync_dir("d")
    assert disk.cut_power(CrashModel.ANY_ORDER, Random(0)).read_bytes("d/a") == b"x"


def test_a_rename_is_there_whole_or_not_at_all() -> None:
    disk = disk_with_file()
    disk.create("d/new").sync()
    disk.fsync_dir("d")
    disk.rename("d/new", "d/a")
    crashes = [disk.moment().crash(CrashModel.ANY_ORDER, Random(seed)) for seed in range(20)]
    assert {tuple(LossyDisk.after(left).list("d")) for left in crashes} == {("a", "new"), ("a",)}


def test_a_name_that_was_synced_outlives_an_older_rename_that_took_it_away() -> None:
    disk = disk_with_file()
    for folder in ("aside", "new"):
        disk.mkdir(folder)
    disk.create("new/a").sync()
    disk.rename("d/a", "aside/a")
    disk.rename("new/a", "d/a")
    disk.fsync_dir("d")
    for seed in range(20):
        left = LossyDisk.after(disk.moment().crash(CrashModel.ANY_ORDER, Random(seed)))
        assert left.read_bytes("d/a") == b""


@pytest.mark.parametrize("model", HONEST)
def test_what_a_failed_sync_left_can_be_read_and_only_writing_it_again_brings_it_to_the_disk(
    model: CrashModel,
) -> None:
    disk = disk_with_file()
    disk.link("d/a", "d/b")
    disk.fsync_dir("d")
    disk.give_up("d/a")
    disk.open_append("d/b").append(b"later")
    disk.open_append("d/b").sync()
    whole = b"synced" + b"x" * 2000 + b"later"
    assert disk.read_bytes("d/a") == disk.read_bytes("d/b") == whole
    left = LossyDisk.after(disk.moment().crash(model, Random(1)))
    assert left.read_bytes("d/a") == left.read_bytes("d/b") == b"synced" + bytes(2000) + b"later"
    disk.rewrite("d/b")
    left = LossyDisk.after(disk.moment().crash(model, Random(1)))
    assert left.read_bytes("d/a") == whole


def test_what_is_written_behind_a_cut_is_not_lost_with_what_a_failed_sync_left_there() -> None:
    disk = disk_with_file()
    disk.give_up("d/a")
    disk.truncate("d/a", 10)
    file = disk.open_append("d/a")
    file.append(b"later")
    file.sync()
    left = disk.cut_power(CrashModel.ANY_ORDER, Random(1))
    assert left.read_bytes("d/a") == b"synced" + bytes(4) + b"later"


def test_a_full_disk_takes_what_fits_and_says_so() -> None:
    disk = LossyDisk(capacity=10)
    disk.mkdir("d")
    file = disk.create("d/a")
    with pytest.raises(OSError) as caught:
        file.append(bytes(12))
    assert caught.value.errno == errno.ENOSPC
    assert (file.size, disk.free_space("d")) == (10, 0)
    disk.unlink("d/a")
    assert disk.free_space("d") == 10


def test_a_hook_may_fail_any_call_before_it_changes_anything() -> None:
    def fail(call: str, path: str) -> None:
        if call == "sync":
            raise OSError(errno.EIO, "I/O error", path)

    disk = LossyDisk(hook=fail)
    disk.mkdir("d")
    file = disk.create("d/a")
    file.append(b"x")
    with pytest.raises(OSError):
        file.sync()
    assert disk.moment().synced.popitem()[1] == 0


def test_after_the_cut_the_old_disk_answers_nothing() -> None:
    disk = disk_with_file()
    disk.cut_power(CrashModel.PREFIX, Random(1))
    with pytest.raises(OSError):
        disk.read_bytes("d/a")


def test_links_share_one_file() -> None:
    disk = disk_with_file()
    disk.link("d/a", "d/b")
    disk.fsync_dir("d")
    disk.unlink("d/a")
    assert disk.read_bytes("d/b").startswith(b"synced")
    assert disk.list("d") == ["b"]
    disk.remove_tree("d")
    assert not disk.exists("d")


def test_a_bad_sector_cannot_be_read_after_a_kill_or_a_power_cut_either_until_it_is_mended() -> None:
    disk = disk_with_file()
    disk.spoil("d/a", 3)
    for found in (disk.after_kill(), disk.cut_power(CrashModel.PREFIX, Random(1))):
        file = found.open_read("d/a")
        with pytest.raises(OSError, match="Input/output error"):
            found.read_bytes("d/a")
        with pytest.raises(OSError, match="Input/output error"):
            file.pread(1, 0)
        assert file.pread(2000, SECTOR_BYTES) == b"x" * (file.size - SECTOR_BYTES)
        found.mend()
        assert found.read_bytes("d/a").startswith(b"synced")
