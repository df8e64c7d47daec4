"""An output in a store: _SUCCESS is never there before all parts, whatever fails, and a commit can be begun
again."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

import fsspec
import google_crc32c
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from examples.wordcount import wordcount
from ringmill import run_local
from ringmill.cluster.adapters.files.url_files import UrlFiles
from ringmill.cluster.errors import CorruptData, InvalidArgument, from_wire, to_wire
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import OutputMayShow, StagedPart, manifest
from ringmill.cluster.mapreduce.commit.url_commit import commit_to_store, leaves_copies, remove_copies
from ringmill.cluster.mapreduce.messages.task_messages import JobStep
from ringmill.cluster.mapreduce.messages.task_service import answers, do_job_step
from ringmill.cluster.ports import AppendFile, ReadFile


class Shelf(DirFileSystem):  # type: ignore[misc]
    """A store whose objects a test can look at: files of this machine."""

    protocol = "shelf"

    def __init__(self, **_: Any) -> None:
        super().__init__("/", fs=LocalFileSystem())


class Here(LocalFileSystem):  # type: ignore[misc]
    """What somebody may have installed: the files of this machine under one more name."""

    protocol = "here"


@pytest.fixture(autouse=True)
def stores() -> None:
    for each in (Shelf, Here):
        fsspec.register_implementation(each.protocol, each, clobber=True)


class Failing(UrlFiles):
    """Fails at the change to a store that has this number, and notes whether _SUCCESS was there."""

    def __init__(self, fails_at: int) -> None:
        super().__init__()
        self.left, self.story = fails_at, list[str]()

    def create(self, path: str) -> AppendFile:
        self._step(path)
        return super().create(path)

    def unlink(self, path: str) -> None:
        self._step(path)
        super().unlink(path)

    def _step(self, path: str) -> None:
        self.story.append(path.rpartition("/")[2])
        self.left -= 1
        if self.left == 0:
            raise OSError(errno.EIO, "the store is away", path)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[list[StagedPart]]:
    made = []
    for number in range(3):
        data = f"part {number}\n".encode() * 1000
        (path := tmp_path / f"staged-{number}").write_bytes(data)
        name = f"part-{number:05d}"
        made.append(StagedPart(number, str(path), len(data), google_crc32c.value(data), 1000, name))
    yield made


def commit(
    files: UrlFiles, url: str, parts: list[StagedPart], *, overwrite: bool = False, again: bool = False
) -> None:
    """As a job does it that ends by any error that says that nothing shows."""
    try:
        commit_to_store(files, url, parts, overwrite=overwrite, again=again)
    except (CorruptData, OSError) as error:
        if leaves_copies(error):
            remove_copies(files, url, parts)
        raise


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []


def is_whole(folder: Path, parts: list[StagedPart]) -> bool:
    """_SUCCESS is there; then all that it names is."""
    if not (folder / "_SUCCESS").exists():
        return False
    assert (folder / "_SUCCESS").read_bytes() == manifest(parts)
    for part in parts:
        assert google_crc32c.value((folder / part.name).read_bytes()) == part.crc32c
    return True


@pytest.mark.parametrize("overwrite", [False, True])
def test_whichever_step_fails_no_manifest_stands_beside_other_parts(
    tmp_path: Path, parts: list[StagedPart], overwrite: bool
) -> None:
    for fails_at in range(1, 9):
        out = tmp_path / f"out-{fails_at}"
        if overwrite:
            out.mkdir()
            for name in ("part-00000", "part-00007", "_SUCCESS"):
                (out / name).write_bytes(b"former")
        with closing(Failing(fails_at)) as files:
            try:
                commit(files, f"shelf://{out}", parts, overwrite=overwrite, again=False)
            except OutputMayShow:
                assert overwrite and not (out / "_SUCCESS").exists()
            except OSError:
                if overwrite:  # the very first step: the former output stands
                    assert (out / "part-00007").read_bytes() == (out / "_SUCCESS").read_bytes() == b"former"
                else:
                    assert names(out) == [], "nothing is left of it"
            else:
                assert fails_at > len(files.story) and is_whole(out, parts)
            files.left = 0
            commit_to_store(files, f"shelf://{out}", parts, overwrite=overwrite, again=True)
        assert is_whole(out, parts) and names(out) == ["_SUCCESS", *(part.name for part in parts)]


class Away(UrlFiles):
    """Neither looks for nor writes the names that are `away`."""

    away: tuple[str, ...] = ()

    def create(self, path: str) -> AppendFile:
        self._reach(path)
        return super().create(path)

    def exists(self, path: str) -> bool:
        self._reach(path)
        return super().exists(path)

    def _reach(self, path: str) -> None:
        if "://" in path and path.endswith(self.away):
            raise OSError(errno.EIO, "the store is away", path)


@pytest.fixture
def former(tmp_path: Path) -> Path:
    (out := tmp_path / "out").mkdir()
    for name in ("part-00000", "part-00001", "_SUCCESS"):
        (out / name).write_bytes(b"former")
    return out


def test_a_second_try_does_not_take_what_the_first_has_begun_to_replace_for_nothing(
    former: Path, parts: list[StagedPart]
) -> None:
    with closing(Away()) as files:
        for again, away in ((False, "part-00001"), (True, "part-00001"), (True, "_SUCCESS")):
            files.away = (away,)
            with pytest.raises(OutputMayShow):
                commit(files, f"shelf://{former}", parts, overwrite=True, again=again)
            assert names(former) == ["part-00000", "part-00001"], "nothing is removed beside it"
        files.away = ("nothing",)
        commit(files, f"shelf://{former}", parts, overwrite=True, again=True)
    assert is_whole(former, parts)


def test_a_first_try_that_sees_nothing_has_changed_nothing(former: Path, parts: list[StagedPart]) -> None:
    with closing(Away()) as files, pytest.raises(OSError, match="away") as failed:
        files.away = ("_SUCCESS",)
        commit(files, f"shelf://{former}", parts, overwrite=True, again=False)
    assert not isinstance(failed.value, OutputMayShow) and "_SUCCESS" in names(former)


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_former_output_stands_when_a_part_for_the_new_one_is_damaged(
    former: Path, parts: list[StagedPart], is_gone: bool
) -> None:
    Path(parts[1].path).write_bytes(b"damaged")
    if is_gone:
        Path(parts[1].path).unlink()
    with closing(UrlFiles()) as files, pytest.raises(CorruptData):
        commit(files, f"shelf://{former}", parts, overwrite=True, again=False)
    assert {path.read_bytes() for path in former.iterdir()} == {b"former"} and len(names(former)) == 3


def test_a_commit_that_is_done_is_found_done_and_another_output_is_kept(
    tmp_path: Path, parts: list[StagedPart]
) -> None:
    out = tmp_path / "out"
    with closing(Failing(0)) as files:
        commit(files, f"shelf://{out}", parts, overwrite=False, again=False)
        files.story.clear()
        commit(files, f"shelf://{out}", parts, overwrite=False, again=True)
        assert files.story == []
        with pytest.raises(InvalidArgument, match="another job was faster"):
            commit(files, f"shelf://{out}", parts[:2], overwrite=False, again=True)
        Path(parts[1].path).write_bytes(b"damaged")
        with pytest.raises(CorruptData, match="not what its task wrote"):
            commit(files, f"shelf://{tmp_path}/other", parts, overwrite=False, again=False)
        Path(parts[1].path).unlink()
        with pytest.raises(CorruptData, match="part 1 is not at"):
            commit(files, f"shelf://{tmp_path}/third", parts, overwrite=False, again=False)
    assert names(tmp_path / "other") == names(tmp_path / "third") == []


def test_a_local_run_writes_to_a_store_what_it_writes_to_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("a b a\n" * 100)
    run_local(wordcount, "in.txt", "folder")
    result = run_local(wordcount, "in.txt", f"shelf://{tmp_path}/store/", processes=2)
    assert result.output == f"shelf://{tmp_path}/store" and result.parts[0].startswith(result.output)
    for part in (tmp_path / "folder").iterdir():
        assert part.read_bytes() == (tmp_path / "store" / part.name).read_bytes()
    assert json.loads((tmp_path / "store" / "_SUCCESS").read_text())["parts"]
    with pytest.raises(InvalidArgument, match="exists"):
        run_local(wordcount, "in.txt", f"shelf://{tmp_path}/store")
    run_local(wordcount, result.output, f"shelf://{tmp_path}/store", overwrite=True, reducers=1)
    assert names(tmp_path / "store") == ["_SUCCESS", "part-00000"]
    run_local(wordcount, "in.txt", f"local://{tmp_path}/path", reducers=1)
    assert names(tmp_path / "path") == ["_SUCCESS", "part-00000"]
    for wrong in ("memory://x", "simplecache::local:///x", "local://path", f"here://{tmp_path}/x"):
        with pytest.raises(InvalidArgument):
            run_local(wordcount, "in.txt", wrong)
    assert names(tmp_path) == ["folder", "in.txt", "path", "store"], "nothing lies beside them"


@pytest.mark.parametrize("scheme", ["local", "LOCAL", "file", "here", "c"])
def test_files_of_this_machine_are_no_store(tmp_path: Path, parts: list[StagedPart], scheme: str) -> None:
    """A contained job may put links in a folder of /dev/shm: its output goes elsewhere, by no word of it."""
    (kept := tmp_path / "kept").mkdir()
    (kept / "_SUCCESS").write_bytes(b"former")
    (kept / "notes").write_bytes(b"of the user")
    (out := tmp_path / "out").mkdir()
    (out / "part-00000").symlink_to(kept / "notes")
    (tmp_path / "linked").symlink_to(kept)
    with closing(UrlFiles()) as files:
        for place in (out, tmp_path / "linked"):
            with pytest.raises(InvalidArgument):
                commit(files, f"{scheme}://{place}", parts, overwrite=True, again=False)
    assert (names(kept), (kept / "notes").read_bytes()) == (["_SUCCESS", "notes"], b"of the user")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_a_part_that_is_not_a_file_is_neither_followed_nor_waited_for(
    tmp_path: Path, former: Path, parts: list[StagedPart], kind: str, overwrite: bool
) -> None:
    (tmp_path / "token").write_bytes(Path(parts[1].path).read_bytes())
    Path(parts[1].path).unlink()
    if kind == "link":
        Path(parts[1].path).symlink_to(tmp_path / "token")
    elif kind == "pipe":
        os.mkfifo(parts[1].path)
    else:
        Path(parts[1].path).symlink_to("/dev/zero")
    out = former if overwrite else tmp_path / "new"
    with closing(Failing(0)) as files, pytest.raises(CorruptData, match="1 is a link or no regular file"):
        commit(files, f"shelf://{out}", parts, overwrite=overwrite, again=False)
    assert names(out) == (["_SUCCESS", "part-00000", "part-00001"] if overwrite else [])


class Late(Shelf):
    """A store that takes an object when its file is closed, also by the end of its program."""

    protocol = "late"

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        return _LateFile(path) if mode == "wb" else super()._open(path, mode, **kwargs)


class _LateFile:
    def __init__(self, path: str) -> None:
        self.path, self.data, self.is_open = path, b"", True

    def write(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            Path(self.path).write_bytes(self.data)

    def __del__(self) -> None:
        self.close()


def test_nothing_of_a_damaged_part_comes_after_its_removal(tmp_path: Path, parts: list[StagedPart]) -> None:
    fsspec.register_implementation("late", Late, clobber=True)
    Path(parts[1].path).write_bytes(b"X" * parts[1].size)
    with closing(UrlFiles()) as files, suppress(CorruptData):
        commit(files, f"late://{tmp_path}/out", parts, overwrite=False, again=False)
    assert names(tmp_path / "out") == []


class Overtaken(UrlFiles):
    """Calls `meanwhile` once, before the change that has this number."""

    def __init__(self, at: int, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self.left, self.meanwhile = at, meanwhile

    def create(self, path: str) -> AppendFile:
        self._step()
        return super().create(path)

    def unlink(self, path: str) -> None:
        self._step()
        super().unlink(path)

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.meanwhile()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_former_coordinator_takes_nothing_from_the_one_that_commits(
    tmp_path: Path, parts: list[StagedPart], overwrite: bool, fails: bool
) -> None:
    """At each of its changes of the store it stops, and goes on or fails there when the other one is done."""
    for at in range(1, 8):
        out, met = tmp_path / f"out-{at}", []
        if overwrite:
            out.mkdir()
            for name in ("part-00000", "_SUCCESS"):
                (out / name).write_bytes(b"former")

        def overtake() -> None:
            met.append(at)  # noqa: B023
            with closing(UrlFiles()) as files:
                commit_to_store(files, f"shelf://{out}", parts, overwrite=overwrite, again=True)  # noqa: B023
            if fails:
                raise OSError(errno.EIO, "the store is away")

        with closing(Overtaken(at, overtake)) as files, suppress(OSError):
            commit_to_store(files, f"shelf://{out}", parts, overwrite=overwrite, again=False)
        assert not met or is_whole(out, parts)


@pytest.mark.parametrize("at", range(1, 5))
def test_a_former_coordinator_that_fails_removes_no_copy_of_the_one_that_commits(
    tmp_path: Path, parts: list[StagedPart], at: int
) -> None:
    def fail() -> None:
        def fail_first() -> None:
            raise OSError(errno.EIO, "the store is away")

        with closing(Overtaken(2, fail_first)) as files, suppress(OSError):
            commit_to_store(files, f"shelf://{tmp_path}/out", parts, overwrite=False, again=False)

    with closing(Overtaken(at, fail)) as files:
        commit_to_store(files, f"shelf://{tmp_path}/out", parts, overwrite=False, again=True)
    assert is_whole(tmp_path / "out", parts)


class Slow(UrlFiles):
    """When the last part is being checked, somebody else has done it all, and has cleaned up."""

    def __init__(self, url: str, parts: list[StagedPart]) -> None:
        super().__init__()
        self.url, self.parts = url, parts

    def open_below(self, folder: str, path: str) -> ReadFile:
        opened = super().open_below(folder, path)
        if path == self.parts[-1].path:
            with closing(UrlFiles()) as files:
                commit_to_store(files, self.url, self.parts, overwrite=True, again=True)
            for part in self.parts:
                Path(part.path).unlink()
        return opened


def test_a_former_coordinator_leaves_the_manifest_that_is_there_by_now(
    former: Path, parts: list[StagedPart]
) -> None:
    with closing(Slow(f"shelf://{former}", parts)) as files:
        commit_to_store(files, files.url, parts, overwrite=True, again=False)
    assert is_whole(former, parts)


class ThinStore(UrlFiles):
    """Somebody removes a part just before the manifest is written."""

    def size(self, path: str) -> int:
        if path.startswith("shelf://") and path.endswith("part-00001"):
            Path(path.removeprefix("shelf://")).unlink()
        return super().size(path)


def test_no_manifest_is_written_for_a_part_that_is_gone(tmp_path: Path, parts: list[StagedPart]) -> None:
    with closing(ThinStore()) as files, pytest.raises(FileNotFoundError):
        commit_to_store(files, f"shelf://{tmp_path}/out", parts, overwrite=False, again=False)
    assert names(tmp_path / "out") == ["part-00000", "part-00002"]


class Cut(UrlFiles):
    """Somebody writes less over a part just before the manifest is written."""

    def size(self, path: str) -> int:
        if path.startswith("shelf://"):
            Path(path.removeprefix("shelf://")).write_bytes(b"less")
        return super().size(path)


def test_no_manifest_is_written_for_a_part_of_another_size(tmp_path: Path, parts: list[StagedPart]) -> None:
    with closing(Cut()) as files, pytest.raises(OSError, match="has 4 bytes in place of 7000"):
        commit_to_store(files, f"shelf://{tmp_path}/out", parts, overwrite=False, again=False)
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_copies_over_a_former_output_stay(former: Path, parts: list[StagedPart]) -> None:
    (former / "_SUCCESS").unlink()
    Path(parts[2].path).unlink()
    with closing(UrlFiles()) as files, pytest.raises(CorruptData, match="counts no more") as failed:
        commit_to_store(files, f"shelf://{former}", parts, overwrite=True, again=True)
    assert not leaves_copies(from_wire(to_wire(failed.value)))


def test_a_node_has_copies_removed_in_a_step_of_its_job(tmp_path: Path, parts: list[StagedPart]) -> None:
    with closing(Failing(3)) as files:
        with pytest.raises(OSError, match="away") as failed:
            commit_to_store(files, f"shelf://{tmp_path}/out", parts, overwrite=False, again=False)
        assert leaves_copies(failed.value) and len(names(tmp_path / "out")) == 2
        spec = JobSpec(
            job="job-1", module="m", name="n", bundle_sha256="", inputs=("/in",), output="/out",
            input_format="lines", output_format="tsv", reducers=3, overwrite=False, params={},
            output_url=f"shelf://{tmp_path}/out",
        )  # fmt: skip
        step = JobStep("withdraw", spec.encode(), [list(astuple(part)) for part in parts])
        no_code: Any = None
        [said] = answers(
            step.encode(), no_code, lambda step: do_job_step(step, files, no_code), lambda _: True
        )
        assert said.kind == "done"
    assert names(tmp_path / "out") == []


def test_what_another_job_has_shown_is_not_removed(tmp_path: Path, parts: list[StagedPart]) -> None:
    with closing(UrlFiles()) as files:
        commit_to_store(files, f"shelf://{tmp_path}/out", parts, overwrite=False, again=False)
        remove_copies(files, f"shelf://{tmp_path}/out", parts)
    assert is_whole(tmp_path / "out", parts)


def test_nothing_is_removed_while_the_store_does_not_say_what_is_there(
    tmp_path: Path, parts: list[StagedPart], monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsspec's own `exists`, as SFTP has it, says then that nothing is."""

    def info(*_: Any, **__: Any) -> Any:
        raise OSError("no answer")

    with closing(UrlFiles()) as files:
        commit_to_store(files, f"shelf://{tmp_path}/out", parts, overwrite=False, again=False)
        monkeypatch.setattr(Shelf, "exists", AbstractFileSystem.exists)
        assert files.exists(f"shelf://{tmp_path}/out") and not files.exists(f"shelf://{tmp_path}/nothing")
        monkeypatch.setattr(Shelf, "info", info)
        with pytest.raises(OSError, match="no answer"):
            remove_copies(files, f"shelf://{tmp_path}/out", parts)
    assert is_whole(tmp_path / "out", parts)


def test_a_copy_that_cannot_be_removed_is_told_when_all_others_are_gone(
    tmp_path: Path, parts: list[StagedPart]
) -> None:
    with closing(Failing(7)) as files:
        commit_to_store(files, f"shelf://{tmp_path}/out", parts, overwrite=False, again=False)
        (tmp_path / "out/_SUCCESS").unlink()
        (tmp_path / "out" / parts[0].name).unlink()
        with pytest.raises(OSError, match="away"):
            remove_copies(files, f"shelf://{tmp_path}/out", parts)
        assert files.story[4:] == [part.name for part in parts]
        assert len(names(tmp_path / "out")) == 1
        remove_copies(files, f"shelf://{tmp_path}/out", parts)
    assert names(tmp_path / "out") == []
