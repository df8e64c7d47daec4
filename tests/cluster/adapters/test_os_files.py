"""The real FileSystem door: what it promises, on real files."""

from __future__ import annotations

import asyncio
import errno
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringmill.cluster.adapters.files import tree_removal
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.files.tree_removal import _entries, remove_tree
from ringmill.cluster.os_errors import passes


@pytest.fixture
def files() -> Iterator[OsFileSystem]:
    system = OsFileSystem()
    yield system
    system.close()


def test_a_created_file_is_new_and_grows_by_appends(files: OsFileSystem, tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    file = files.create(path)
    file.append(b"one")
    file.append(memoryview(b"two"))
    assert (file.size, files.size(path), files.read_bytes(path)) == (6, 6, b"onetwo")
    file.close()
    file.close()
    with pytest.raises(FileExistsError) as caught:
        files.create(path)
    assert caught.value.filename == path


def test_appending_goes_on_at_the_end_of_an_existing_file(files: OsFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"head")
    file = files.open_append(str(path))
    assert file.size == 4
    file.append(b"tail")
    file.sync()
    file.close()
    assert path.read_bytes() == b"headtail"
    with pytest.raises(FileNotFoundError):
        files.open_append(str(tmp_path / "missing"))


def starts_no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


async def test_started_threads_serve_at_the_limit_on_threads(
    files: OsFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.start_threads()
    monkeypatch.setattr(threading.Thread, "start", starts_no_thread)
    together = threading.Barrier(4)
    await asyncio.gather(*(files.off_loop(together.wait, 10.0) for _ in range(4)))
    file = files.create(str(tmp_path / "a"))
    assert await files.open_read(str(tmp_path / "a")).pread_off_loop(1, 0) == b""
    await file.append_and_sync(b"durable", off_loop=True)
    file.close()


def test_threads_that_the_system_does_not_give_are_an_os_error(
    files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", starts_no_thread)
    with pytest.raises(OSError, match="can't start new thread") as caught:
        files.start_threads()
    assert passes(caught.value)


async def test_append_and_sync_writes_before_it_returns(files: OsFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "a"
    file = files.create(str(path))
    await file.append_and_sync(b"durable")
    assert path.read_bytes() == b"durable"
    assert file.size == 7
    file.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
async def test_a_full_disk_names_the_file(files: OsFileSystem) -> None:
    file = files.open_append("/dev/full")
    with pytest.raises(OSError) as caught:
        await file.append_and_sync(b"x")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")
    file.close()


async def test_reads_at_offsets_agree_whichever_way_they_are_asked(
    files: OsFileSystem, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(200)))
    file = files.open_read(str(path))
    for size, offset in [(10, 0), (50, 190), (10, 200), (10, 300)]:
        expected = bytes(range(200))[offset : offset + size]
        assert file.pread(size, offset) == expected
        assert await file.pread_off_loop(size, offset) == expected
        assert file.pread_cached(size, offset) in (expected, None)
    assert file.size == 200
    file.close()


def test_what_was_just_written_is_found_in_the_page_cache(files: OsFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 10_000)
    file = files.open_read(str(path))
    assert file.pread_cached(4096, 100) == b"x" * 4096
    file.close()


def test_names_move_link_and_vanish(files: OsFileSystem, tmp_path: Path) -> None:
    folder = str(tmp_path / "deep" / "folder")
    files.mkdir(folder)
    files.mkdir(folder)
    files.create(f"{folder}/b").close()
    files.create(f"{folder}/a").close()
    files.rename(f"{folder}/a", f"{folder}/b")
    files.link(f"{folder}/b", f"{folder}/c")
    files.fsync_dir(folder)
    assert files.list(folder) == ["b", "c"]
    files.unlink(f"{folder}/b")
    assert not files.exists(f"{folder}/b")
    assert files.is_dir(folder)
    files.remove_tree(folder)
    files.remove_tree(folder)
    assert not files.exists(folder)


def test_rewriting_a_file_leaves_what_it_holds(files: OsFileSystem, tmp_path: Path) -> None:
    path, content = tmp_path / "log", bytes(range(256)) * 9_000  # more than one piece
    path.write_bytes(content)
    files.rewrite(str(path))
    assert path.read_bytes() == content
    with pytest.raises(FileNotFoundError):
        files.rewrite(str(tmp_path / "none"))


def test_truncate_cuts_and_free_space_is_positive(files: OsFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    files.truncate(str(path), 4)
    assert path.read_bytes() == b"0123"
    assert files.mtime_ns(str(path)) == path.stat().st_mtime_ns
    assert files.free_space(str(tmp_path)) > 0
    assert files.free_files(str(tmp_path)) > 0


def test_a_lock_is_refused_to_others_until_released(files: OsFileSystem, tmp_path: Path) -> None:
    path = str(tmp_path / "LOCK")
    lock = files.lock(path)
    with pytest.raises(BlockingIOError):
        files.lock(path)
    lock.release()
    lock.release()
    files.lock(path).release()


def test_a_lock_ends_with_its_process_and_is_not_inherited(files: OsFileSystem, tmp_path: Path) -> None:
    path = str(tmp_path / "LOCK")
    program = (
        "import subprocess, sys\n"
        "from ringmill.cluster.adapters.files.os_files import OsFileSystem\n"
        f"lock = OsFileSystem().lock({path!r})\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read(1)\n"
        "import os; os._exit(0)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=os.getcwd(),
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError):
        files.lock(path)
    holder.communicate("x")
    files.lock(path).release()


async def test_file_work_can_leave_the_loop_and_the_door_can_go_to_a_child(
    files: OsFileSystem, tmp_path: Path
) -> None:
    (tmp_path / "a").touch()
    assert await files.off_loop(files.list, str(tmp_path)) == ["a"]
    twin = pickle.loads(pickle.dumps(files))
    assert twin.list(str(tmp_path)) == ["a"]
    twin.close()


async def test_what_hangs_in_files_apart_holds_up_no_other(files: OsFileSystem) -> None:
    apart, goes_on = files.apart(), threading.Event()
    assert isinstance(apart, OsFileSystem)
    hung = [asyncio.ensure_future(apart.off_loop(goes_on.wait, 5)) for _ in range(8)]
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await files.off_loop(goes_on.set)
    assert await asyncio.gather(*hung) == [True] * 8
    apart.close()


async def test_reads_that_wait_hold_up_no_folder_sync_and_are_left_out_once_nobody_waits(
    files: OsFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    file, goes_on, read = files.open_read(str(tmp_path / "a")), threading.Event(), list[int]()

    def hangs(descriptor: int, size: int, offset: int) -> bytes:
        read.append(offset)
        goes_on.wait(5)
        return b"x" * size

    monkeypatch.setattr(os, "pread", hangs)
    waiting = [asyncio.ensure_future(file.pread_off_loop(1, offset)) for offset in range(12)]
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await files.off_loop(files.fsync_dir, str(tmp_path))
        for one in waiting[4:]:
            one.cancel()
        await asyncio.sleep(0.01)
        goes_on.set()
        assert await asyncio.gather(*waiting[:4]) == [b"x"] * 4
        assert await file.pread_off_loop(1, 50) == b"x"
    assert sorted(read) == [0, 1, 2, 3, 50]
    file.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder in which root cannot make any")
def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(files: OsFileSystem) -> None:
    with pytest.raises(FileNotFoundError, match="/proc/absent"):
        files.mkdir("/proc/absent/folder")


def test_a_paced_reader_gets_the_same_bytes_and_takes_its_time(files: OsFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 50_000)
    paced = pickle.loads(pickle.dumps(files.paced(100_000)))
    file = paced.open_read(str(path))
    begun = time.monotonic()
    assert b"".join(file.pread(1000, at) for at in range(0, 50_000, 1000)) == b"x" * 50_000
    assert time.monotonic() - begun >= 0.35  # half a second, less a tenth of credit
    file.close()
    paced.close()


def nested(folder: Path, levels: int) -> None:
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)
        for _ in range(levels):  # the whole path is longer than any system call takes
            Path("file").touch()
            os.mkdir("deeper")
            os.chdir("deeper")
    finally:
        os.chdir(before)
        os.close(before)


def test_folders_nested_without_end_are_removed_and_links_in_them_are_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    deep = tmp_path / "deep"
    deep.mkdir()
    nested(deep, 3 * sys.getrecursionlimit())
    (deep / "link").symlink_to(kept)
    (deep / "deeper" / "link").symlink_to(kept)
    remove_tree(str(deep))
    assert os.listdir(tmp_path) == ["kept"] and os.listdir(kept) == ["file"]


FEW_DESCRIPTORS = """
import os, resource, sys
from ringmill.cluster.adapters.files.tree_removal import remove_tree
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
remove_tree(sys.argv[1])
"""


def test_deep_folders_take_no_descriptor_a_level(tmp_path: Path) -> None:
    (deep := tmp_path / "deep").mkdir()
    nested(deep, 500)
    subprocess.run([sys.executable, "-c", FEW_DESCRIPTORS, str(deep)], check=True)
    assert os.listdir(tmp_path) == []


AS_NOBODY = """
import os
from ringmill.cluster.adapters.files.tree_removal import remove_tree
if os.geteuid() == 0:
    os.setuid(65534)
os.makedirs("a/b/c")
for folder, mode in (("a/b/c", 0o500), ("a/b", 0), ("a", 0o300)):
    os.chmod(folder, mode)
remove_tree("a")
assert os.listdir(".") == []
"""


def test_folders_that_their_own_user_may_not_read_are_removed(tmp_path: Path) -> None:
    """By a user that is not root, whom no mode holds."""
    os.chmod(tmp_path, 0o777)
    subprocess.run([sys.executable, "-c", AS_NOBODY], cwd=tmp_path, check=True)


def test_folders_that_cannot_be_moved_are_removed_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overlayfs moves no folder that an image brought along."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    (tree := tmp_path / "tree").mkdir()
    nested(tree, 5)
    (tree / "empty").mkdir()
    (tree / "deeper" / "file").write_bytes(b"x")
    monkeypatch.setattr(os, "rename", refuse)
    remove_tree(str(tree))
    assert os.listdir(tmp_path) == []


def test_a_folder_that_lists_what_is_not_there_ends_the_removal_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()  # the system does not take a damaged folder for an empty one
    monkeypatch.setattr(tree_removal, "_entries", lambda _: [("ghost", False)])
    with pytest.raises(OSError, match="not empty"):
        remove_tree(str(tmp_path))


def test_a_folder_that_was_filled_before_the_clock_was_set_back_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        (inner := tmp_path / "tree" / "folder" / str(number)).mkdir(parents=True)
        (inner / "file").touch()
    now, now_ns = time.time(), time.time_ns()
    monkeypatch.setattr(time, "time", lambda: now - 60)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns - 60 * 10**9)
    monkeypatch.setattr(tree_removal, "_MOST_MADE", 20)
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("is_nested", [False, True])
def test_a_folder_that_is_filled_as_fast_as_it_is_emptied_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_nested: bool
) -> None:
    """Code of a job whose process goes on makes folders beside or in each other."""
    (folder := tmp_path / "folder").mkdir()
    (folder / "first").mkdir()
    opened, looks, look = [os.open(folder / "first" if is_nested else folder, os.O_RDONLY)], 0, _entries

    def made_meanwhile(looked_at: int) -> list[tuple[str, bool]]:
        nonlocal looks
        looks += 1
        assert looks < 3000, "it has no end"
        os.mkdir(name := f"made {looks}", dir_fd=opened[-1])
        if is_nested:
            opened.append(os.open(name, os.O_RDONLY, dir_fd=opened[-1]))
            os.close(opened.pop(0))
        return look(looked_at)

    monkeypatch.setattr(tree_removal, "_entries", made_meanwhile)
    monkeypatch.setattr(tree_removal, "_MOST_MADE", 20)
    with pytest.raises(OSError, match="not empty"):
        remove_tree(str(folder))
    monkeypatch.setattr(tree_removal, "_entries", look)
    remove_tree(str(folder))
    os.close(opened[0])
    assert os.listdir(tmp_path) == []
