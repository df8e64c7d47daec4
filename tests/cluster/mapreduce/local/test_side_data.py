"""Files that every task of a job may read, and that may not change under it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from ringmill import Context, FileInput, JobDefinition, Source, job, join, pipeline, run_local
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.kernel import task
from ringmill.cluster.mapreduce.local.in_process import run_spec

TOUCHED: list[str] = []


def words(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, int]]:
    stop = Path(ctx.side("stop")).read_text().split()
    for path in TOUCHED:
        os.utime(path, (1, 1))
    for word in line.split():
        if word not in stop:
            yield word, 1


def weighed(word: str, counts: Iterable[int], ctx: Context) -> Iterator[tuple[str, int]]:
    yield word, sum(counts) * int(Path(ctx.side("weight")).read_text())


counted = job(map=words, reduce=weighed, side={"stop": "", "weight": ""}, reducers=1)


def keyed(offset: int, line: str) -> Iterator[tuple[str, str]]:
    key, _, rest = line.partition(" ")
    yield key, rest


def marked(key: str, pair: tuple[str, str], ctx: Context) -> Iterator[tuple[str, str]]:
    yield key, f"{pair[0]}/{pair[1]}/{Path(ctx.side('stop')).read_text()}"


def unknown(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, int]]:
    yield ctx.side("stops"), 1


@pytest.fixture
def side(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "in").write_text("a the b the a\n")
    (tmp_path / "stop").write_text("the of")
    (tmp_path / "weight").write_text("10")
    return {name: f"{tmp_path}/{name}" for name in ("stop", "weight")}


def run(definition: JobDefinition, folder: Path, **more: Any) -> str:
    result = run_local(definition, f"{folder}/in", f"{folder}/out", **more)
    return "".join(Path(part).read_text() for part in result.parts)


@pytest.mark.parametrize("processes", [1, 2])
def test_tasks_read_it_by_its_name(tmp_path: Path, side: dict[str, str], processes: int) -> None:
    assert run(counted, tmp_path, side=side, processes=processes) == "a\t20\nb\t10\n"
    named = replace(counted, side={**side, "weight": ""})
    (tmp_path / "other").write_text("3")
    mine = {"weight": f"{tmp_path}/other"}
    assert run(named, tmp_path, side=mine, overwrite=True) == "a\t6\nb\t3\n"
    by_url = {"weight": f"file://{tmp_path}/other"}
    assert run(named, tmp_path, side=by_url, overwrite=True) == "a\t6\nb\t3\n"


def test_what_is_not_there_is_refused(tmp_path: Path, side: dict[str, str]) -> None:
    for given, told in (
        ({"stop": side["stop"]}, "no path for the side data weight"),
        ({**side, "more": "x"}, "the job has no side data more; it has stop, weight"),
        ({**side, "stop": f"{tmp_path}/nowhere"}, "nowhere is no regular file"),
        ({**side, "stop": str(tmp_path)}, "is no regular file"),
        ({**side, "stop": "s3://bucket/stop"}, "side stop 's3://bucket/stop' is a URL"),
    ):
        with pytest.raises(InvalidArgument, match=told):
            run(counted, tmp_path, side=given)
    with pytest.raises(InvalidArgument, match="is no name"):
        job(map=words, side={"a b": "x"})
    with pytest.raises(JobFailed, match="no side data 'stops'; it has stop"):
        run(job(map=unknown, side={"stop": side["stop"]}), tmp_path)


def test_a_file_that_changes_fails_the_job_by_name(
    tmp_path: Path, side: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.TOUCHED", [side["weight"]])
    with pytest.raises(JobFailed, match=r"weight changed under the job") as failed:
        run(counted, tmp_path, side=side)
    assert failed.value.detail["cause"] == "InputChanged"
    monkeypatch.setattr(task, "check_side_data", lambda spec, files: None)
    assert run(counted, tmp_path, side=side) == "a\t20\nb\t10\n"  # what the rule is for


def test_a_file_that_cannot_be_read_fails_the_job_with_a_cause(
    tmp_path: Path, side: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = OSError(5, "Input/output error", side["weight"])
    monkeypatch.setattr(task, "check_side_data", Mock(side_effect=error))  # it is raised in no user's file
    with pytest.raises(JobFailed, match=side["weight"]) as failed:
        run(counted, tmp_path, side=side)
    assert failed.value.detail["cause"] == "EngineError"


def test_a_description_keeps_it_and_what_planning_noted(tmp_path: Path, side: dict[str, str]) -> None:
    spec = JobSpec.of(
        counted, job="j", module="m", name="n", bundle_sha256="", inputs=(f"{tmp_path}/in",),
        output=f"{tmp_path}/out", side=side,
    )  # fmt: skip
    assert run_spec(counted, spec, OsFileSystem()).records["reduce_out"] == 2
    assert JobSpec.decode(spec.encode()) == spec == spec.asked


def test_a_source_of_a_join_may_have_the_name_of_side_data(tmp_path: Path, side: dict[str, str]) -> None:
    (tmp_path / "people").write_text("1 ann\n2 bob and some more people\n")
    (tmp_path / "things").write_text("1 pen\n2 cup\n")
    shown = job(map=marked, input=FileInput("records"), side={"stop": ""})
    joined = pipeline(join(Source("stop", map=keyed), Source("things", map=keyed)), shown)
    inputs = {"stop": f"{tmp_path}/people", "things": f"{tmp_path}/things"}
    result = run_local(joined, inputs, f"{tmp_path}/out", side={"stop": side["stop"]})
    rows = "".join(Path(part).read_text() for part in result.parts).splitlines()
    assert sorted(rows) == ["1\tann/pen/the of", "2\tbob and some more people/cup/the of"]
