"""The same job on real Dask and on real Spark: the bytes of `run_local`, with code that no worker has."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from ringmill import CollectOutput, JobDefinition, run_local, run_on_dask, run_on_spark
from ringmill.client.jobs.job_modules import load_job_module
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import JobFailed

Run: TypeAlias = Callable[..., Any]

HELPER = """
def clean(word):
    return word.strip(".,").lower()
"""
JOB = """
from collections.abc import Iterable, Iterator
from ringmill import Context, Source, job, join
from cleaning import clean

def words(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, int]]:
    for word in line.split():
        if word == ctx.params["poison"]:
            raise KeyError("no such word")
        ctx.count("words")
        yield clean(word), 1

def total(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)

def places(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield clean(line.split()[-2]), offset

counting = job(map=words, combine=total, reduce=total, params={"poison": ""})
SIDES = Source("all", places), Source("some", places)
merged, hashed, given_to_all = (join(*SIDES, strategy=each) for each in ("merge", "hash", "broadcast"))
"""


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[JobDefinition]:
    """A job in a folder that is on no worker's path, with a local import."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "cleaning.py").write_text(HELPER)
    (tmp_path / "code" / "counting_job.py").write_text(JOB)
    with closing(OsFileSystem()) as files:
        definition = load_job_module(f"{tmp_path}/code/counting_job.py:counting", files, "/").definition
    assert isinstance(definition, JobDefinition)
    yield definition
    for name in ("counting_job", "cleaning"):
        sys.modules.pop(name, None)


def check(run: Run, counting: JobDefinition, tmp_path: Path) -> None:
    for number in range(3):
        lines = [f"Word, word w{line % 97}. {number}\n" for line in range(20_000)]
        (tmp_path / f"in-{number}.txt").write_text("".join(lines))
    inputs = str(tmp_path / "in-*.txt")
    ours = run_local(counting, inputs, str(tmp_path / "ours"), split_mib=1)
    theirs = run(counting, inputs, str(tmp_path / "theirs"), split_mib=1)
    assert (theirs.records, theirs.counters) == (ours.records, ours.counters)
    for one, other in zip(ours.parts, theirs.parts, strict=True):
        assert Path(one).read_bytes() == Path(other).read_bytes()
    check_joins(run, tmp_path)
    taken = [each(counting, inputs, CollectOutput(), split_mib=1).collected for each in (run_local, run)]
    assert taken[0] == taken[1] and dict(taken[0])
    told = []
    for each in (run_local, run):
        with pytest.raises(JobFailed, match="no such word") as failed:
            each(counting, inputs, str(tmp_path / "failed"), params={"poison": "2"}, split_mib=1)
        told.append(str(failed.value).splitlines()[:2])
    assert told[0] == told[1], "the task, the cause, the position and the record"
    assert not list(tmp_path.glob(".failed*")) and not (tmp_path / "failed").exists()


def check_joins(run: Run, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("w3 4\nw96 4\n")
    both = {"all": str(tmp_path / "in-*.txt"), "some": str(tmp_path / "few.txt")}
    for name in ("merged", "hashed", "given_to_all"):
        definition = getattr(sys.modules["counting_job"], name)
        ours = run_local(definition, both, str(tmp_path / f"our-{name}"), split_mib=1)
        theirs = run(definition, both, str(tmp_path / f"their-{name}"), split_mib=1)
        assert theirs.records == ours.records and ours.records["reduce_out"] == 3 * (207 + 206)
        for one, other in zip(ours.parts, theirs.parts, strict=True):
            assert Path(one).read_bytes() == Path(other).read_bytes()


def test_on_dask_the_output_is_the_same(counting: JobDefinition, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None,
            local_directory=str(tmp_path / "dask"),
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        check(lambda *args, **kwargs: run_on_dask(*args, client=client, **kwargs), counting, tmp_path)


def test_on_spark_the_output_is_the_same(
    counting: JobDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyspark = pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, and there is none on PATH")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    conf = pyspark.SparkConf().setMaster("local[2]").set("spark.ui.enabled", "false")
    conf = conf.set("spark.driver.host", "127.0.0.1").set("spark.driver.bindAddress", "127.0.0.1")
    context = pyspark.SparkContext(conf=conf.set("spark.local.dir", str(tmp_path / "spark")))
    try:
        check(lambda *args, **kwargs: run_on_spark(*args, context=context, **kwargs), counting, tmp_path)
    finally:
        context.stop()
