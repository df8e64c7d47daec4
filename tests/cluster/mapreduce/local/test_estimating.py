"""An estimate against the same job run whole, by a clock that the job's own functions move on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ringmill import Count, FileInput, JobDefinition, KvInput, Source, estimate_job, job
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.machine_name import own_cores
from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.job_steps import input_plan_of
from ringmill.cluster.mapreduce.files.splits import SPLIT_SIZES
from ringmill.cluster.mapreduce.local.estimating import estimated
from ringmill.cluster.mapreduce.local.in_process import run_spec
from ringmill.cluster.mapreduce.summary.stage_model import stage_seconds


class Clock:
    now_s = 0.0


def now() -> float:
    return Clock.now_s


def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    Clock.now_s += 1e-4 * len(line)
    for word in line.split():
        yield word, offset


def few(offset: int, line: str) -> Iterator[tuple[str, str]]:
    Clock.now_s += 2e-3 * len(line)
    if "7" in line[:8]:
        yield line[:8], line


def each_line(offset: int, line: str) -> Iterator[tuple[str, str]]:
    Clock.now_s += 5e-5 * len(line)
    yield line[:16], line


def slow_reduce(word: str, values: Iterable[Any]) -> Iterator[tuple[str, int]]:
    Clock.now_s += 2e-3
    count = 0
    for _ in values:
        Clock.now_s += 3e-4
        count += 1
    yield word, count


def cells(line: int, row: list[str]) -> Iterator[tuple[str, int]]:
    Clock.now_s += 1e-3
    yield row[0], 1


def opened(line: int, row: list[str]) -> Iterator[tuple[str, int]]:
    Clock.now_s += 1e-4 + (5e-3 if row[1] == "0" else 0.0)  # what a file takes, however small
    yield row[0], 1


def broken(offset: int, line: str) -> Iterator[tuple[str, int]]:
    raise KeyError(line[:5])


def key_of(key: str, value: str) -> Iterator[tuple[str, int]]:
    yield key, 1


SHAPES: dict[str, JobDefinition] = {
    "counts": job(map=words, reduce=Count()),
    "long groups": job(map=words, reduce=slow_reduce),
    "few records": job(map=few, reduce=slow_reduce),
    "sorted": job(map=each_line, reduce=slow_reduce, order="total", reducers=6),
    "in order": job(map=each_line, order="input", input=FileInput("lines")),
    "without reduces": job(map=each_line, reducers=0),
    "two inputs": job(
        sources=[Source("text", words), Source("rows", cells, input=FileInput("csv"))], reduce=slow_reduce
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("in"), Random(5)
    lines = (
        f"{random.getrandbits(64):016x} "
        + " ".join(f"w{int(random.paretovariate(0.7)) % 5000}" for _ in range(9))
        for _ in range(9000)
    )
    (folder / "text.txt").write_text("\n".join(lines))
    for number in range(4):
        rows = "".join(f"w{random.randrange(999)},{n}\n" for n in range(1000))
        (folder / f"rows-{number}.csv").write_text(rows)
    return folder


def spec_of(definition: JobDefinition, folder: Path, output: Path) -> JobSpec:
    text, rows = (f"{folder}/text.txt",), (f"{folder}/rows-*.csv",)
    return JobSpec.of(
        definition, job="estimate", module="m", name="job", bundle_sha256="",
        inputs={"text": text, "rows": rows} if definition.source_names else text, output=str(output),
    )  # fmt: skip


class Timed:
    """Runs the tasks of each stage one after the other and notes what they take."""

    def __init__(self) -> None:
        self.stages: list[list[float]] = []

    def __call__(self, run: Callable[[Any], Any], tasks: Sequence[Any], /) -> Iterator[Any]:
        self.stages.append([])
        for task in tasks:
            began = now()
            done = run(task)
            self.stages[-1].append(now() - began)
            yield done


@pytest.mark.parametrize("name", SHAPES)
def test_it_is_within_a_quarter_of_what_the_whole_job_takes(
    name: str, folder: Path, tmp_path: Path, files: OsFileSystem
) -> None:
    spec, sizes = spec_of(SHAPES[name], folder, tmp_path / "out"), SPLIT_SIZES.pinned(30_000)
    plan = input_plan_of(spec, files, sizes)
    sample = tmp_path / "sample"
    sample.mkdir()
    found = estimated(SHAPES[name], spec, plan, files, folder=str(sample), at_once=3, each=map, now=now)
    assert (found.maps, found.sampled) == (len(plan.splits), 3)
    assert found.maps > 9
    timed = Timed()
    result = run_spec(SHAPES[name], spec, files, sizes, each=timed)
    truth_s = sum(stage_seconds((), stage, 3) for stage in timed.stages)
    written = sum(Path(part).stat().st_size for part in result.parts)
    assert abs(found.seconds / truth_s - 1) < 0.25, (found, truth_s)
    assert 0.3 < found.output_bytes / written < 2, (found, written)


def rows_of(folder: Path, sizes: Sequence[int], tmp_path: Path, files: OsFileSystem) -> tuple[Any, float]:
    """The estimate of a job over csv files whose splits have these numbers of rows; and the truth."""
    for number, rows in enumerate(sizes):
        (folder / f"{number}.csv").write_text("".join(f"w{row % 99},{row}\n" for row in range(rows)))

    rows_job = job(map=opened, reduce=Count(), input=FileInput("csv"))
    spec = JobSpec.of(
        rows_job, job="estimate", module="m", name="job", bundle_sha256="",
        inputs=(f"{folder}/*.csv",), output=str(tmp_path / "out"),
    )  # fmt: skip
    plan = input_plan_of(spec, files, SPLIT_SIZES.pinned(1))
    assert len(plan.splits) == len(sizes)
    (sample := tmp_path / "sample").mkdir()
    found = estimated(rows_job, spec, plan, files, folder=str(sample), at_once=1, each=map, now=now)
    timed = Timed()
    run_spec(rows_job, spec, files, SPLIT_SIZES.pinned(1), each=timed)
    return found, sum(timed.stages[0])


@pytest.mark.parametrize("sizes", [(4000, 4000, 1), (1, 1, 4000, 1, 4000, 1), (1, *[2000] * 5)])
def test_what_a_small_split_takes_is_no_price_of_a_byte(
    sizes: Sequence[int], tmp_path: Path, files: OsFileSystem
) -> None:
    (folder := tmp_path / "in").mkdir()
    found, truth_s = rows_of(folder, sizes, tmp_path, files)
    assert abs(found.map_s / truth_s - 1) < 0.25, (found, truth_s)
    assert found.most_s / found.least_s < 2


def test_more_nodes_take_less_time_until_there_are_more_slots_than_tasks(
    folder: Path, tmp_path: Path
) -> None:
    told = [
        estimate_job(
            SHAPES["counts"], str(folder / "text.txt"), nodes=nodes, split_mib=1, scratch=str(tmp_path)
        )
        for nodes in (1, 1000)
    ]
    assert [one.at_once for one in told] == [1, 1000]
    assert told[0].least_s <= told[0].seconds <= told[0].most_s
    assert not [*tmp_path.iterdir()], "nothing is left"


@pytest.mark.parametrize(
    "wrong",
    [{"nodes": 0}, {"nodes": True}, {"nodes": 2, "slots": 0}, {"nodes": 2, "cores": 0}, {"nodes": "2"}],
)
def test_a_wrong_number_is_refused_by_name(wrong: dict[str, Any], folder: Path) -> None:
    with pytest.raises(InvalidArgument, match=f"{list(wrong)[-1]} must be 1 to"):
        estimate_job(SHAPES["counts"], str(folder / "text.txt"), **wrong)


def test_what_cannot_be_tried_here_is_refused(folder: Path, tmp_path: Path) -> None:
    keys = job(map=key_of, reduce=Count(), input=KvInput())
    with pytest.raises(InvalidArgument, match="the job reads a keyspace"):
        estimate_job(keys, "kv:users", nodes=2)
    with pytest.raises(JobFailed, match="KeyError"):
        estimate_job(job(map=broken), str(folder / "text.txt"), nodes=2, scratch=str(tmp_path))
    assert not [*tmp_path.iterdir()], "nothing is left"


def test_an_input_without_a_byte_takes_the_least(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    found = estimate_job(SHAPES["counts"], str(tmp_path / "empty.txt"), nodes=2, scratch=str(tmp_path))
    assert (found.maps, found.sampled, found.output_bytes) == (0, 0, 0)
    assert 0 < found.seconds < 1


def test_slots_that_no_task_needs_cost_nothing() -> None:
    assert stage_seconds((), (), 10**12) == 0.0
    assert stage_seconds((), [1.0, 3.0, 2.0], 10**12) == 3.0
    assert stage_seconds([4.0], [1.0, 3.0, 2.0], 10**12) == 4.0
    assert (
        stage_seconds([4.0, 1.0], [1.0, 3.0, 2.0], 2) == stage_seconds([1.0, 4.0], [1.0, 3.0, 2.0], 2) == 6.0
    )


def test_tasks_at_a_time_are_bounded_by_the_cores_that_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 5}, raising=False)
    assert own_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert own_cores() == 64
