"""The three orders of an output, beside plain sorted(), for any memory and any cut."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringmill import FileOutput
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.api.definition import job
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files import external_sort, readers
from ringmill.cluster.mapreduce.kernel import key_ranges
from ringmill.cluster.mapreduce.kernel.reduce_kernel import ReduceKernel
from ringmill.cluster.mapreduce.local.in_process import LocalResult, run_spec
from tests.cluster.mapreduce import batch_jobs, sample_jobs


def numbers(count: int, seed: int = 7) -> list[bytes]:
    draw = random.Random(seed)
    return [b"%d" % draw.randrange(5000) + (b"\r" if draw.random() < 0.3 else b"") for _ in range(count)]


@pytest.fixture
def run(tmp_path: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LocalResult]:
    for size in ("READ_BYTES", "BATCH_BYTES"):
        monkeypatch.setattr(readers, size, 1 << 12)  # many batches
    monkeypatch.setattr(external_sort.narrow, "__kwdefaults__", {"factor": 3})

    def run(
        definition: JobDefinition, *, split_bytes: int = 9000, memory_bytes: int = 1 << 26
    ) -> LocalResult:
        base = JobSpec.of(
            definition, job="j", module="m", name="n", bundle_sha256="", inputs=(f"{tmp_path}/in",),
            output=f"{tmp_path}/out", overwrite=True,
        )  # fmt: skip
        values = {field: getattr(base, field) for field in base.__dataclass_fields__}
        spec = JobSpec(**{**values, "split_bytes": split_bytes, "memory_bytes": memory_bytes})
        return run_spec(definition, spec, files)

    return run


@pytest.fixture
def lines(tmp_path: Path) -> list[bytes]:
    """Of a file with a last line that has no end, and of a compressed one."""
    (tmp_path / "in").mkdir()
    made = numbers(8000)
    (tmp_path / "in" / "a.txt").write_bytes(b"\n".join(made[:6000]))
    (tmp_path / "in" / "b.gz").write_bytes(gzip.compress(b"\n".join(made[6000:]) + b"\n"))
    return made


class Shared(dict[Any, Any]):
    """What another thread clears as soon as something is kept there."""

    def __setitem__(self, name: Any, value: Any) -> None:
        super().__setitem__(name, value)
        self.clear()


def test_ranges_are_those_of_the_job_whatever_other_threads_keep(
    run: Callable[..., LocalResult], lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_ranges, "_known", Shared())
    assert run(job(map=sample_jobs.one, order="total"), split_bytes=1 << 20).records["map_in"] == len(lines)


def parts(result: LocalResult) -> list[list[bytes]]:
    return [Path(part).read_bytes().split(b"\n")[:-1] for part in result.parts]


def joined(result: LocalResult) -> list[bytes]:
    return [line for part in parts(result) for line in part]


@pytest.mark.parametrize("split_bytes", [500, 9000, 1 << 20])
def test_a_map_only_job_keeps_the_order_of_the_input(run: Any, lines: list[bytes], split_bytes: int) -> None:
    result = run(batch_jobs.copied, split_bytes=split_bytes)
    assert joined(result) == lines
    assert result.records == dict.fromkeys(("map_in", "map_out", "reduce_in", "reduce_out"), 8000)
    assert sum(1 for part in parts(result) if part) == (1 if split_bytes == 1 << 20 else 4)
    assert joined(run(batch_jobs.grepped, split_bytes=split_bytes)) == [
        line for line in lines if b"7" in line
    ]


@pytest.mark.parametrize("name", ["copied", "grepped"])
def test_without_reducers_each_split_is_a_part(run: Any, lines: list[bytes], name: str) -> None:
    sent = run(getattr(batch_jobs, name))
    expected = joined(sent)
    alone = run(replace(getattr(batch_jobs, name), reducers=0))
    assert joined(alone) == expected and len(alone.parts) > 4
    assert alone.records == {**sent.records, "reduce_in": 0, "reduce_out": 0}
    with pytest.raises(InvalidArgument, match="reducers=0 is for a job of order='input'"):
        run(replace(batch_jobs.sorted_lines, reducers=0))


def test_an_empty_input_without_reducers_is_an_empty_output(tmp_path: Path, run: Any) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").touch()
    assert run(replace(batch_jobs.copied, reducers=0)).parts == ()
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["_SUCCESS"]


@pytest.mark.parametrize("format", ["lines", "tsv", "jsonl"])
def test_a_batch_may_give_nothing(run: Any, lines: list[bytes], format: Any) -> None:
    result = run(replace(batch_jobs.rare, output=FileOutput(format)))
    found = [line for line in lines if line in (b"77", b"4077\r")]
    assert 0 < len(found) == result.records["reduce_out"] == len(joined(result))
    assert format != "lines" or joined(result) == found


@pytest.mark.parametrize("memory_bytes", [20_000, 1 << 26])
@pytest.mark.parametrize("name", ["sorted_lines", "sorted_pairs", "sorted_numbers", "sorted_counts"])
def test_a_total_order_is_one_over_all_parts(
    run: Any, lines: list[bytes], name: str, memory_bytes: int
) -> None:
    made = run(getattr(batch_jobs, name), memory_bytes=memory_bytes)
    expected = {
        "sorted_lines": sorted(lines),
        "sorted_pairs": sorted(lines, key=lambda line: line[:2]),
        "sorted_numbers": sorted(lines, key=int),
        "sorted_counts": [b"%b\t%d" % each for each in sorted(Counter(lines).items())],
    }[name]
    if name == "sorted_pairs":  # its keys hold offsets, which begin anew in the second file
        assert [line[:2] for line in joined(made)] == [line[:2] for line in expected]
    else:
        assert joined(made) == expected
    sizes = [len(part) for part in parts(made)]
    assert min(sizes) > 0.5 * sum(sizes) / len(sizes)


def test_keys_alone_are_sorted_within_hashed_parts_too(run: Any, lines: list[bytes]) -> None:
    for memory_bytes in (20_000, 1 << 26):
        made = parts(run(batch_jobs.hashed_lines, memory_bytes=memory_bytes))
        assert [sorted(part) for part in made] == made
        assert sorted(line for part in made for line in part) == sorted(lines)
        assert not set(made[0]) & set(made[1])


def test_a_partition_function_chooses_the_part(run: Any, lines: list[bytes]) -> None:
    made = parts(run(batch_jobs.by_digit))
    assert [{int(line) % 10 % 3 for line in part} for part in made] == [{0}, {1}, {2}]
    with pytest.raises(JobFailed, match=r"partition gave 4 for key .* parts 0 to 3"):
        run(batch_jobs.misplaced)


def test_a_map_that_is_not_deterministic_cannot_be_ordered(
    run: Any, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(JobFailed, match="gave two tasks other keys for the same sample"):
        run(batch_jobs.unordered)
    monkeypatch.setattr(ReduceKernel, "_compare_marks", lambda self, slices: None)
    times = [float(line.split(b"\t")[0]) for line in joined(run(batch_jobs.unordered))]
    assert times != sorted(times)


def test_an_empty_input_in_total_order_makes_empty_parts(run: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_bytes(b"")
    assert parts(run(batch_jobs.sorted_lines)) == [[], [], [], []]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": "random"}, "order 'random' is unknown"),
        ({"order": "input", "reduce": sample_jobs.total}, "order='input' leaves no place for reduce"),
        ({"order": "input", "combine": sample_jobs.total}, "leaves no place for combine"),
        ({"order": "total", "partition": batch_jobs.by_last_digit}, "leaves no place for partition"),
        ({"partition": batch_jobs.by_last_digit}, "gives a key of type str, partition .* takes int"),
        ({"partition": sample_jobs.total}, r"must take \(key, parts: int\) and return int"),
        ({"partition": lambda key, parts: 0}, "partition is a lambda"),
    ],
)
def test_orders_that_contradict_the_job_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        job(map=sample_jobs.one, **settings)
