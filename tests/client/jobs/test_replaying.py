"""A map task of a job runs again here, and its error can be looked at where it was raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import pytest

from ringmill import Context, FileInput, job, pipeline
from ringmill.client.jobs.trying.replaying import code_of, file_of, replayed
from ringmill.client.jobs.trying.task_rows import MapTask
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.api.chains.chain import Runnable
from ringmill.cluster.mapreduce.api.chains.chain_specs import spec_of
from ringmill.cluster.mapreduce.api.chains.stage_specs import stage_of
from ringmill.cluster.mapreduce.api.chains.stages import START
from ringmill.cluster.mapreduce.files.input_plan import plan_input
from ringmill.cluster.mapreduce.files.splits import PartitionSpan, Split


def parsed(offset: int, line: str, ctx: Context) -> Iterator[tuple[int, int]]:
    ctx.count("lines")
    yield parsed_number(line, ctx), offset


def parsed_number(text: str, ctx: Context) -> int:
    number = int(text)
    return number + int(ctx.params["more"])


def once_more(number: int, offset: int) -> Iterator[tuple[int, int]]:
    yield number, offset


parsing = job(map=parsed, params={"more": "0"}, reducers=1)


def task_of(definition: Runnable, path: Path) -> MapTask:
    spec = spec_of(
        definition, job="j-1", module="pack.parsers", name="parsing", bundle_sha256="", inputs=(str(path),),
        output="/out", params={"more": "5"},
    )  # fmt: skip
    spec = stage_of(spec, START)
    with closing(OsFileSystem()) as files:
        return MapTask(spec, plan_input(spec.readings, files).splits[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_a_task_runs_on_the_same_records_with_the_same_parameters(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "in").write_text("1\n2\n")
    task = task_of(parsing, tmp_path / "in")
    assert file_of(task) == "pack/parsers.py:parsing"
    done = replayed(task, parsing, str(folder))
    assert (done.records_in, done.counters) == (2, {"lines": 2})
    assert b"\x81\x06" in Path(done.file).read_bytes(), "1 and the parameter"


def test_an_error_is_told_as_the_jobs_and_can_be_looked_at(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "in").write_text("1\nx\n")
    seen: list[tuple[str, str, object]] = []

    def look(error: BaseException, traceback: TracebackType) -> None:
        last = traceback
        while last.tb_next is not None:
            last = last.tb_next
        names = traceback.tb_frame.f_code.co_name, last.tb_frame.f_code.co_name
        seen.append((*names, last.tb_frame.f_locals["text"]))

    with pytest.raises(JobFailed, match=r"map-0, attempt 1: UserError: ValueError.*in offset 2") as failed:
        replayed(task_of(parsing, tmp_path / "in"), parsing, str(folder), look)
    assert seen == [("parsed", "parsed_number", "x")]
    assert "parsed_number" in str(failed.value)


def test_of_a_pipeline_it_is_the_job_of_the_stage(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "in").write_text("1\n")
    chain = pipeline(parsing, job(map=once_more, input=FileInput("records")))
    task = task_of(chain, tmp_path / "in")
    assert (file_of(task), task.spec.name) == ("pack/parsers.py:parsing", "parsing.0")
    assert replayed(task, chain, str(folder)).counters == {"lines": 1}


def test_a_task_that_reads_a_keyspace_is_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "in").write_text("1\n")
    split = Split(0, (), span=PartitionSpan(0, 1, 10, (1, 1)))
    with pytest.raises(InvalidArgument, match="reads a keyspace"):
        replayed(MapTask(task_of(parsing, tmp_path / "in").spec, split), parsing, str(folder))


@pytest.mark.parametrize("module", [".tmp.x.evil", "..a.b", "a..b", "a/../../b", ""])
def test_a_module_that_leads_out_of_the_folder_is_refused(module: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1\n")
    task = task_of(parsing, tmp_path / "in")
    with pytest.raises(InvalidArgument, match="names no module below a folder"):
        file_of(MapTask(replace(task.spec, module=module), task.split))
    with pytest.raises(InvalidArgument, match="names no module below a folder"):
        file_of(MapTask(replace(task.spec, name="of:another"), task.split))


def test_code_that_the_job_did_not_run_is_not_imported_unless_the_user_names_it(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1\n")
    task = task_of(parsing, tmp_path / "in")
    (tmp_path / "pack").mkdir()
    code, ran = tmp_path / "pack/parsers.py", tmp_path / "ran"
    code.write_text(f"open({str(ran)!r}, 'w')\n")
    with closing(OsFileSystem()) as files:
        with pytest.raises(InvalidArgument, match="is not what job j-1 ran") as refused:
            code_of(task, None, files, str(tmp_path))
        named = code_of(task, "pack/parsers.py:parsing", files, str(tmp_path))
        equal = MapTask(replace(task.spec, bundle_sha256=named.sources.bundle.sha256), task.split)
        assert code_of(equal, None, files, str(tmp_path)).sources.path == str(code)
    assert "pack/parsers.py:parsing" in (refused.value.hint or "")
    assert not ran.exists(), "it is for the caller to import it"
