"""Output becomes visible all at once, also when the commit is begun again at any step."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import google_crc32c
import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import CorruptData, InvalidArgument
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.job_steps import plan_job
from ringmill.cluster.mapreduce.commit.output_commit import (
    OutputMayShow,
    StagedPart,
    commit_output,
    loss_of_staging,
    manifest,
    remove_every_staging,
    remove_staging,
)
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files.part_file import PartFile
from ringmill.cluster.mapreduce.files.rendering import rendered
from ringmill.cluster.mapreduce.outputs import staging_folder
from ringmill.cluster.ports import AppendFile, FileSystem
from ringmill.simulator.disk.folder_tree import FolderTree
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.world.door import Door


class PowerCut(Exception):
    pass


class Stumbling(Door):
    """These files; the process that commits, or all power, goes at the n-th call that changes names.

    With an errno, that call and all after it fail by it instead.
    """

    def __init__(self, files: FileSystem, calls: int, code: int = 0) -> None:
        super().__init__(lambda path: files, lambda path: None)
        self.calls = calls
        self.code = code

    def _step(self) -> None:
        self.calls -= 1
        if self.calls < 0:
            raise OSError(self.code, os.strerror(self.code), "/shared") if self.code else PowerCut

    def rename(self, source: str, target: str) -> None:
        self._step()
        super().rename(source, target)

    def create(self, path: str) -> AppendFile:
        self._step()
        return super().create(path)

    def fsync_dir(self, path: str) -> None:
        self._step()
        super().fsync_dir(path)

    def remove_tree(self, path: str) -> None:
        self._step()
        super().remove_tree(path)


def stage(output: Path, parts: int) -> list[StagedPart]:
    staged = []
    for number in range(parts):
        folder = Path(staging_folder(str(output), "job-1")) / f"reduce-{number}.1"
        folder.mkdir(parents=True)
        content = b"part %d\n" % number
        (folder / "part").write_bytes(content)
        crc32c, name = google_crc32c.value(content), f"part-0000{number}"
        staged.append(StagedPart(number, str(folder / "part"), len(content), crc32c, 1, name))
    return staged


def test_an_output_that_lost_a_part_is_made_whole_by_an_equal_one(tmp_path: Path) -> None:
    output, files = tmp_path / "out", OsFileSystem()
    commit_output(files, "job-1", str(output), stage(output, 2))
    (output / "part-00001").unlink()
    commit_output(files, "job-1", str(output), stage(output, 2))
    assert (output / "part-00001").read_bytes() == b"part 1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


class Overtaken(Stumbling):
    """After some steps another coordinator of the same job comes by."""

    def __init__(self, files: OsFileSystem, calls: int, other: Callable[[], None]) -> None:
        super().__init__(files, calls)
        self._other: Callable[[], None] | None = other

    def _step(self) -> None:
        try:
            super()._step()
        except PowerCut:
            other, self._other = self._other, None
            if other is not None:
                other()


def test_a_commit_that_another_coordinator_of_the_job_overtakes_at_any_step_ends_whole(
    tmp_path: Path,
) -> None:
    for calls in range(30):
        home = tmp_path / f"{calls}"
        home.mkdir()
        output, done = home / "out", [False]
        parts = stage(output, 3)

        def overtake(done: list[bool] = done, output: Path = output, parts: list[StagedPart] = parts) -> None:
            done[0] = True
            commit_output(OsFileSystem(), "job-1", str(output), parts, overwrite=False)

        files = Overtaken(OsFileSystem(), calls, overtake)
        for _ in range(3):
            with contextlib.suppress(OSError):  # it is repeated, as publication.py does
                commit_output(files, "job-1", str(output), parts, overwrite=False)
                break
        commit_output(OsFileSystem(), "job-1", str(output), parts, overwrite=False)
        assert [(output / f"part-0000{n}").read_text() for n in range(3)] == [f"part {n}\n" for n in range(3)]
        assert [path.name for path in home.iterdir()] == ["out"]
        if not done[0]:
            return
    raise AssertionError("30 steps were not enough")


@pytest.mark.parametrize("replaces", [False, True])
def test_a_commit_begun_again_after_a_power_cut_at_any_step_ends_whole(
    tmp_path: Path, replaces: bool
) -> None:
    for calls in range(20):
        home = tmp_path / f"{replaces}-{calls}"
        home.mkdir()
        output = home / "out"
        if replaces:
            output.mkdir()
            (output / "_SUCCESS").write_text("of an older job")
        parts = stage(output, 3)
        try:
            commit_output(Stumbling(OsFileSystem(), calls), "job-1", str(output), parts)
            is_done = True
        except PowerCut:
            is_done = False
        seen = sorted(path.name for path in output.iterdir()) if output.exists() else []
        assert seen in ([], ["_SUCCESS"], ["_SUCCESS", "part-00000", "part-00001", "part-00002"])
        commit_output(OsFileSystem(), "job-1", str(output), parts)
        assert [(output / f"part-0000{n}").read_text() for n in range(3)] == [f"part {n}\n" for n in range(3)]
        assert [path.name for path in home.iterdir()] == ["out"]
        if is_done:
            return
    raise AssertionError("20 steps were not enough")


@pytest.mark.parametrize("model", [CrashModel.PREFIX, CrashModel.ANY_ORDER, CrashModel.NAMES_FIRST])
def test_what_a_second_commit_reports_outlives_a_power_cut_wherever_the_first_was_killed(
    model: CrashModel,
) -> None:
    for calls in range(100):
        files = FolderTree()
        part = f"{staging_folder('/shared/out', 'job-1')}/reduce-0.1/part"
        files.mkdir(posixpath.dirname(part))
        writer = PartFile(files, part)
        writer.write_all([(1, b"a\t1\n")])
        writer.finish()
        for folder in (posixpath.dirname(part), staging_folder("/shared/out", "job-1"), "/shared", ""):
            files.fsync_dir(folder)
        totals = writer.totals
        staged = [StagedPart(0, part, totals.size, totals.crc32c, totals.records, "part-00000")]
        is_whole = False
        with contextlib.suppress(PowerCut):
            commit_output(Stumbling(files, calls), "job-1", "/shared/out", staged)
            is_whole = True
        commit_output(files, "job-1", "/shared/out", staged)
        files.cut_power(model, Random(calls))
        assert files.read_bytes("/shared/out/part-00000") == b"a\t1\n", f"killed at call {calls}"
        if is_whole:
            return
    raise AssertionError("100 calls were not enough")


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("replaces", [False, True])
def test_an_error_of_the_disk_says_on_which_side_of_the_rename_it_was_met(
    tmp_path: Path, replaces: bool, code: int
) -> None:
    kinds = []
    for calls in range(20):
        home = tmp_path / f"{calls}"
        home.mkdir()
        output = home / "out"
        if replaces:
            output.mkdir()
            (output / "_SUCCESS").write_text("of an older job")
        parts = stage(output, 2)
        try:
            commit_output(Stumbling(OsFileSystem(), calls, code), "job-1", str(output), parts)
            break
        except OSError as error:
            kinds.append(type(error) is OutputMayShow)
            assert (error.errno, error.filename) == (code, "/shared")
        if not kinds[-1]:
            assert output.exists() is replaces
            assert not (output / "part-00000").exists()
        commit_output(OsFileSystem(), "job-1", str(output), parts)
        assert [(output / f"part-0000{n}").read_text() for n in range(2)] == ["part 0\n", "part 1\n"]
        assert [path.name for path in home.iterdir()] == ["out"]
    # The folder's name, two moves, manifest, folder; then the former output goes aside (two calls), the
    # rename, the sync.  A rename that was not done is told apart, unless the former output cannot be put
    # back.
    assert kinds == ([False] * 7 + [True] * 2 if replaces else [False] * 6 + [True])
    assert (output / "part-00001").read_text() == "part 1\n", "leftovers do not fail an output that stands"


def test_an_output_that_can_never_show_is_not_told_as_one_that_may(tmp_path: Path) -> None:
    """A link that leads nowhere: no look finds anything there, and no folder can be renamed onto it."""
    output = tmp_path / "out"
    parts = stage(output, 1)
    output.symlink_to(tmp_path / "nowhere")
    for _ in range(2):
        with pytest.raises(NotADirectoryError) as caught:
            commit_output(OsFileSystem(), "job-1", str(output), parts)
        assert not isinstance(caught.value, OutputMayShow)
    output.unlink()
    commit_output(OsFileSystem(), "job-1", str(output), parts)
    assert (output / "part-00000").exists()


@pytest.mark.parametrize("is_back", [True, False])
def test_a_former_output_is_put_back_when_the_new_one_cannot_show(tmp_path: Path, is_back: bool) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "_SUCCESS").write_text("of an older job")
    parts = stage(output, 1)
    refused = "result" if is_back else "re"  # the result alone, or the former output as well

    class Refusing(Stumbling):
        def rename(self, source: str, target: str) -> None:
            if target == str(output) and posixpath.basename(source).startswith(refused):
                raise OSError(errno.EBUSY, "Device or resource busy", target)
            super().rename(source, target)

    with pytest.raises(OSError, match="busy") as caught:
        commit_output(Refusing(OsFileSystem(), 99), "job-1", str(output), parts)
    assert isinstance(caught.value, OutputMayShow) is not is_back
    assert output.exists() is is_back
    commit_output(OsFileSystem(), "job-1", str(output), parts)
    assert (output / "part-00000").read_text() == "part 0\n"


def test_a_commit_that_cannot_look_whether_it_showed_does_not_say_that_it_failed(tmp_path: Path) -> None:
    output = tmp_path / "out"
    parts = stage(output, 1)
    commit_output(OsFileSystem(), "job-1", str(output), parts)

    class Blind(Stumbling):
        def read_bytes(self, path: str) -> bytes:
            raise OSError(errno.EIO, "Input/output error", path)

    with pytest.raises(OutputMayShow):
        commit_output(Blind(OsFileSystem(), 99), "job-1", str(output), parts)
    commit_output(OsFileSystem(), "job-1", str(output), parts)


@pytest.mark.parametrize("calls", range(8))
def test_what_one_coordinator_shows_is_whole_wherever_another_one_is_with_the_same_job(
    tmp_path: Path, calls: int
) -> None:
    """They share the staging folder; their winners are other attempts.  One stands at each of its steps
    while the other shows the output."""
    output = tmp_path / "out"
    ours = stage(output, 2)
    theirs = []
    for part in ours:
        path = Path(part.path.replace(".1/", ".2/"))
        path.parent.mkdir()
        path.write_bytes(Path(part.path).read_bytes())
        theirs.append(replace(part, path=str(path)))

    class Unfinished(Stumbling):
        """It stops with a file that it has made and not written, too."""

        def create(self, path: str) -> AppendFile:
            file = super().create(path)
            self._step()
            return file

    class Beside(OsFileSystem):
        def rename(self, source: str, target: str) -> None:
            if target == str(output):
                with contextlib.suppress(PowerCut):
                    files = Unfinished(OsFileSystem(), calls)
                    commit_output(files, "job-1", str(output), theirs, overwrite=False)
            super().rename(source, target)

    with contextlib.suppress(InvalidArgument, OutputMayShow):  # the other one was faster
        commit_output(Beside(), "job-1", str(output), ours, overwrite=False)
    assert [(output / f"part-0000{n}").read_text() for n in range(2)] == ["part 0\n", "part 1\n"]
    assert (output / "_SUCCESS").read_bytes() == manifest(ours)


def remove_alone(output: Path) -> None:
    remove_staging(OsFileSystem(), "job-1", str(output))


def plan_again(output: Path) -> None:
    plan_job(planned_job(output, ""), OsFileSystem())


def planned_job(output: Path, planned: str) -> JobSpec:
    source = output.parent / "in"
    source.write_text("a\n")
    return JobSpec(
        job="job-1", module="m", name="n", bundle_sha256="", inputs=(str(source),), output=str(output),
        input_format="lines", output_format="tsv", reducers=1, overwrite=True, params={}, planned=planned,
    )  # fmt: skip


def test_folders_that_are_made_for_an_output_outlive_a_power_cut(tmp_path: Path) -> None:
    files = FolderTree()
    files.mkdir("/there")
    files.fsync_dir("")
    files.create("/there/in").close()
    spec = replace(planned_job(tmp_path / "out", ""), inputs=("/there/in",), output="/there/new/newer/out")
    plan_job(spec, files)
    files.cut_power(CrashModel.TORN, Random(1))
    assert files.is_dir(staging_folder(spec.output, spec.staging))


def test_a_coordinator_that_plans_late_touches_no_folder_of_another_one(tmp_path: Path) -> None:
    files, output = OsFileSystem(), tmp_path / "out"
    specs = [planned_job(output, planned) for planned in ("1.1", "2.1", "3.1")]
    late, winner, later = [Path(staging_folder(each.output, each.staging)) for each in specs]
    plan_job(specs[1], files)
    (winner / "reduce-0.1").mkdir()
    plan_job(specs[2], files)
    plan_job(specs[0], files)
    assert (winner / "reduce-0.1").exists()
    remove_every_staging(files, specs[1], 2)
    assert [each.exists() for each in (late, winner, later)] == [False, False, True]


@pytest.mark.parametrize("remove", [remove_alone, plan_again])
def test_a_removal_does_not_empty_the_output_that_another_coordinator_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remove: Callable[[Path], None]
) -> None:
    """The other one has its result, and renames it when the removal is about to unlink the first file."""
    output = tmp_path / "out"
    result = Path(staging_folder(str(output), "job-1")) / "result-1"
    result.mkdir(parents=True)
    (result / "part-00000").write_text("part 0\n")
    unlink = os.unlink

    def show_then_unlink(*args: Any, **kwargs: Any) -> None:
        with contextlib.suppress(FileNotFoundError):
            result.rename(output)
        unlink(*args, **kwargs)

    monkeypatch.setattr(os, "unlink", show_then_unlink)
    remove(output)
    assert not output.exists()


@pytest.mark.parametrize("remove", [remove_alone, plan_again])
@pytest.mark.parametrize("is_half_done", [False, True])
def test_a_removal_puts_a_former_output_back_that_nothing_has_replaced(
    tmp_path: Path, remove: Callable[[Path], None], is_half_done: bool
) -> None:
    """Killed between the two renames: the only copy is among the staged files."""
    output = tmp_path / "out"
    output.mkdir()
    (output / "_SUCCESS").write_text("of an older job")
    parts = stage(output, 1)
    with pytest.raises(PowerCut):
        # name, part, manifest, folder; the former output (two calls); then the rename
        commit_output(Stumbling(OsFileSystem(), 6), "job-1", str(output), parts)
    assert not output.exists()
    staging = staging_folder(str(output), "job-1")
    if is_half_done:
        os.rename(staging, f"{staging}.removed")
    remove(output)
    assert (output / "_SUCCESS").read_text() == "of an older job"
    remove_alone(output)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "in") == ["out"]


def test_a_removal_drops_a_former_output_that_another_one_has_replaced(tmp_path: Path) -> None:
    output = tmp_path / "out"
    replaced = Path(staging_folder(str(output), "job-1")) / "replaced"
    replaced.mkdir(parents=True)
    output.mkdir()
    (output / "part-00000").write_text("new")
    remove_alone(output)
    assert (output / "part-00000").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_loss_of_a_jobs_hidden_folder_has_a_cause(tmp_path: Path) -> None:
    files, output = OsFileSystem(), tmp_path / "out"
    stage(output, 1)
    assert loss_of_staging(files, "job-1", str(output), overwrite=False) is None
    files.remove_tree(staging_folder(str(output), "job-1"))
    lost = loss_of_staging(files, "job-1", str(output), overwrite=False)
    assert isinstance(lost, CorruptData)
    assert "another coordinator of the job" in str(lost)
    output.mkdir()
    lost = loss_of_staging(files, "job-1", str(output), overwrite=False)
    assert isinstance(lost, InvalidArgument)
    assert isinstance(loss_of_staging(files, "job-1", str(output), overwrite=True), CorruptData)


def test_a_part_that_is_neither_in_its_place_nor_moved_whole_is_an_error(
    tmp_path: Path, files: OsFileSystem
) -> None:
    parts = stage(tmp_path / "out", 2)
    Path(parts[1].path).unlink()
    with pytest.raises(CorruptData, match="part 1"):
        commit_output(files, "job-1", str(tmp_path / "out"), parts)
    assert not (tmp_path / "out").exists()


def test_a_part_that_the_jobs_code_has_made_a_link_is_not_shown(tmp_path: Path, files: OsFileSystem) -> None:
    parts = stage(tmp_path / "out", 2)
    (tmp_path / "diary").write_text("part 1\n")
    Path(parts[1].path).unlink()
    Path(parts[1].path).symlink_to(tmp_path / "diary")
    with pytest.raises(CorruptData, match="part 1 is a link"):
        commit_output(files, "job-1", str(tmp_path / "out"), parts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("format", "pairs", "written"),
    [
        ("tsv", [("a", 1), (2, "b c"), (b"\xff", 1.5)], b"a\t1\n2\tb c\n\xff\t1.5\n"),
        ("tsv", [(("x", 1), None), (True, [1, "\u00fc"])], b'["x",1]\t\ntrue\t[1,"\\u00fc"]\n'),
        ("tsv", [("a\udcff", "b\tc")], b"a\xff\tb\tc\n"),
        ("jsonl", [("a\tb\n", {"x": [1, None]})], b'{"key":"a\\tb\\n","value":{"x":[1,null]}}\n'),
        ("bytes", [(1, b"\x00\xff"), (2, "text")], b"\x00\xfftext"),
        ("lines", [(1, b"\xff\r"), ("key", None), (2, "text")], b"\xff\r\nkey\ntext\n"),
    ],
)
def test_records_are_written_as_the_format_says(
    tmp_path: Path, files: OsFileSystem, format: str, pairs: list[Any], written: bytes
) -> None:
    part = PartFile(files, str(tmp_path / "part"))
    part.write_all(rendered(pairs, format, "reduce", ""))
    part.finish()
    assert (tmp_path / "part").read_bytes() == written
    assert (part.totals.size, part.totals.records) == (len(written), len(pairs))
    assert part.totals.crc32c == google_crc32c.value(written)


@pytest.mark.parametrize("pair", [("a\tb", 1), ("a\nb", 1), ("a", "b\nc"), ("a", "\ud800"), ("a", b"\n")])
def test_a_record_that_would_tear_a_tsv_line_is_refused(
    tmp_path: Path, files: OsFileSystem, pair: Any
) -> None:
    part = PartFile(files, str(tmp_path / "part"))
    with pytest.raises(TaskFailed, match=r"tsv line|lone surrogate"):
        part.write_all(rendered([("fine", 1), pair], "tsv", "reduce", ""))


@pytest.mark.parametrize("format", ["bytes", "lines"])
def test_text_that_stands_for_no_bytes_is_the_users_error(format: str) -> None:
    with pytest.raises(TaskFailed, match="lone surrogate") as failed:
        list(rendered([("fine", "a"), ("torn", "\ud800")], format, "reduce", ""))
    assert failed.value.cause is Cause.USER_ERROR


def test_a_number_that_json_does_not_have_is_refused(tmp_path: Path, files: OsFileSystem) -> None:
    part = PartFile(files, str(tmp_path / "part"))
    with pytest.raises(TaskFailed, match="cannot be written as JSON"):
        part.write_all(rendered([("a", float("nan"))], "jsonl", "reduce", ""))


def test_the_totals_of_a_part_grow_with_each_batch(tmp_path: Path, files: OsFileSystem) -> None:
    part = PartFile(files, str(tmp_path / "part"))
    seen: list[int] = []

    def pairs() -> Iterator[tuple[int, int]]:
        for number in range(2500):
            seen.append(part.totals.records)
            yield number, number

    part.write_all(rendered(pairs(), "tsv", "reduce", ""))
    assert (sorted({*seen}), part.totals.records) == ([0, 1024, 2048], 2500)
