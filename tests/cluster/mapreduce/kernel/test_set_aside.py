"""Records at which a job fails are set aside: which, how, in which order, and how many."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ringmill import Context, FileInput, FileOutput, KvInput, run_local
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.api.bad_records import BAD_RECORDS, bad_records_of
from ringmill.cluster.mapreduce.api.definition import job
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import StagedPart, manifest
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files import external_sort, readers
from ringmill.cluster.mapreduce.files.input_plan import plan_input
from ringmill.cluster.mapreduce.files.run_file import read_groups
from ringmill.cluster.mapreduce.files.splits import SplitSizes
from ringmill.cluster.mapreduce.kernel.set_aside import LINES
from ringmill.cluster.mapreduce.kernel.task import MapAttempt, run_map
from ringmill.cluster.mapreduce.local.in_process import LocalResult, run_spec
from ringmill.cluster.mapreduce.progress import Progress

Run = Callable[..., LocalResult]


@pytest.fixture
def run(tmp_path: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(readers, "READ_BYTES", 64)
    monkeypatch.setattr(external_sort.narrow, "__kwdefaults__", {"factor": 3})
    (tmp_path / "in").mkdir()

    def run(definition: JobDefinition, *, memory_bytes: int = 1 << 26, split: int = 1 << 20) -> LocalResult:
        spec = JobSpec.of(
            definition, job="j", module="m", name="n", bundle_sha256="", inputs=(f"{tmp_path}/in",),
            output=f"{tmp_path}/out", overwrite=True,
        )  # fmt: skip
        return run_spec(
            definition,
            replace(spec, memory_bytes=memory_bytes),
            files,
            SplitSizes(least_bytes=split, most_bytes=split),
        )

    return run


def numbers(offset: int, line: str) -> Iterator[tuple[int, str]]:
    for word in line.split():
        yield len(word), word
        int(word)


numbers_job = job(map=numbers, on_bad_record="quarantine:100")


def bad(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "out" / BAD_RECORDS).read_bytes().splitlines()]


def test_a_bad_record_is_reported_and_gives_nothing_else(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in" / "a.txt").write_bytes(b"1 2\n3 caf\xe9 4\n5\n")
    result = run(numbers_job)
    [told] = bad(tmp_path)
    assert told.pop("error").startswith("ValueError: invalid literal for int()")
    assert told.pop("where").startswith("test_set_aside.py:") and "record" in told
    assert told == {"file": f"{tmp_path}/in/a.txt", "offset": 4, "record": "3 caf\udce9 4"}
    written = b"".join(part.read_bytes() for part in sorted((tmp_path / "out").glob("part-*")))
    assert written.splitlines() == [b"1\t1", b"1\t2", b"1\t5"]
    assert result.records == {"map_in": 3, "map_out": 3, "reduce_in": 3, "reduce_out": 3, "bad": 1}
    assert [Path(part).name for part in result.parts] == [f"part-0000{n}" for n in range(4)]


def counted(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, int]]:
    ctx.count("lines")
    for word in line.split():
        ctx.count("sum", int(word))
        ctx.count(f"of {word}")
        yield line, 1


def test_what_a_bad_record_has_counted_does_not_count(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in" / "a.txt").write_text("9 x\n1 2\n3 x\n1 5\n8 x\n")
    result = run(job(map=counted, on_bad_record="quarantine:100"))
    assert result.records["bad"] == 3
    assert result.counters == {"lines": 2, "sum": 9, "of 1": 2, "of 2": 1, "of 5": 1}


@dataclass(frozen=True)
class Place:
    name: str


def placed(offset: int, line: str) -> Iterator[tuple[Place, int]]:
    yield Place(line), -offset


def numbered(offset: int, line: str) -> Iterator[tuple[int, str]]:
    yield -offset, line


def fails_at_places(place: Place, number: int) -> Iterator[tuple[str, int]]:
    raise ValueError(place.name)


def fails_at_numbers(number: int, line: str) -> Iterator[tuple[str, int]]:
    raise ValueError(line)


@pytest.mark.parametrize(("first", "second"), [(placed, fails_at_places), (numbered, fails_at_numbers)])
def test_bad_typed_records_come_as_they_were_read_whatever_their_keys_are(
    tmp_path: Path, run: Run, first: Any, second: Any
) -> None:
    (tmp_path / "a.txt").write_text("c\na\nb\n")
    stored = job(map=first, output=FileOutput("records"), reducers=0)
    run_local(stored, f"{tmp_path}/a.txt", f"{tmp_path}/in/stored")
    run(job(map=second, input=FileInput("records"), on_bad_record="quarantine:9"))
    assert [each["error"] for each in bad(tmp_path)] == [f"ValueError: {name}" for name in "cab"]


def first_words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    words = iter(line.split())
    if offset == 0:
        next(words)
    try:
        yield next(words), 1
    except StopIteration as error:
        raise ValueError("a line without words") from error


def test_the_error_that_is_told_is_the_one_that_map_raised(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in" / "a.txt").write_bytes(b"\n \n5\n")
    run(job(map=first_words, on_bad_record="quarantine:9"))
    assert [each["error"] for each in bad(tmp_path)] == [
        "StopIteration: ",
        "ValueError: a line without words",
    ]


def outputs(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}


def test_they_are_in_the_order_of_the_input_however_it_is_cut(tmp_path: Path, run: Run) -> None:
    lines = [f"{n} {'x' if n % 7 == 0 else n}\n".encode() for n in range(300)]
    (tmp_path / "in" / "a.txt").write_bytes(b"".join(lines[:100]))
    (tmp_path / "in" / "b.gz").write_bytes(gzip.compress(b"".join(lines[100:200])))
    (tmp_path / "in" / "c.txt").write_bytes(b"".join(lines[200:]))
    run(numbers_job)
    at_once = outputs(tmp_path)
    assert [told["record"] for told in bad(tmp_path)] == [f"{n} x" for n in range(0, 300, 7)]
    run(numbers_job, memory_bytes=400, split=300)
    assert outputs(tmp_path) == at_once


def lines(offset: int, line: str) -> Iterator[tuple[str, None]]:
    if "x" in line:
        raise LookupError(object())
    yield line, None


@pytest.mark.parametrize("order", ["total", "input"])
def test_in_every_order_of_the_output(tmp_path: Path, run: Run, order: Any) -> None:
    (tmp_path / "in" / "a.txt").write_text("b\nx1\na\nx2\nc\n")
    run(job(map=lines, output=FileOutput("lines"), order=order, reducers=1, on_bad_record="quarantine:9"))
    assert (tmp_path / "out" / "part-00000").read_bytes() == (
        b"a\nb\nc\n" if order == "total" else b"b\na\nc\n"
    )
    told = bad(tmp_path)
    assert [each["record"] for each in told] == ["x1", "x2"]
    assert told[0]["error"] == "LookupError: <object object at 0x...>", "as in every other process"


def values(key: int, value: Any) -> Iterator[tuple[str, int]]:
    yield str(value["n"]), 10 // int(value["n"])


def rows(line: int, row: dict[str, str]) -> Iterator[tuple[str, int]]:
    yield row["n"], 10 // int(row["n"])


def widths(line: int, row: dict[str, str]) -> Iterator[tuple[str, int]]:
    yield row["n"], len(row["m"])


def test_invalid_json_and_rows_that_do_not_fit_the_header_are_set_aside(tmp_path: Path, run: Run) -> None:
    source = tmp_path / "in" / "a.txt"
    source.write_text('{"n": 1}\n{"n": 0}\n\n{"n": \n{"n": 5}\n')
    done = run(job(map=values, input=FileInput("jsonl"), on_bad_record="quarantine:9"))
    told = bad(tmp_path)
    assert [(each["offset"], each["record"]) for each in told] == [(9, {"n": 0}), (19, '{"n": ')]
    assert told[1]["error"].startswith("ValueError: not JSON: ") and not told[1]["where"]
    assert (done.records["map_in"], done.records["bad"]) == (4, 2)
    source.write_text('{"n": 1}\n' + "[" * 5000 + "]" * 5000)
    done = run(job(map=values, input=FileInput("jsonl"), on_bad_record="quarantine:9"))
    assert done.records["bad"] == 1 and bad(tmp_path)[0]["error"] == "ValueError: not JSON: nested too deeply"
    source.write_text("n,m\n1,2\n3\n0,4\n")
    run(job(map=rows, input=FileInput("csv"), on_bad_record="quarantine:9"))
    told = bad(tmp_path)
    assert [(each["line"], each["record"]) for each in told] == [(3, ["3"]), (4, {"n": "0", "m": "4"})]


def test_a_row_of_csv_may_have_long_fields_and_an_invalid_one_is_set_aside(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in" / "a.txt"
    source.write_text('n,m\n1,"' + "x" * 200_000 + '"\n2,"a"b\n3,c\n4,"d\ne"f\n5,g\n0,"\nh')
    lengths = job(map=widths, input=FileInput("csv"))
    assert run(replace(lengths, on_bad_record="quarantine:9")).records["map_in"] == 6
    written = [line for part in sorted((tmp_path / "out").glob("part-*")) for line in part.open()]
    assert sorted(written) == ["1\t200000\n", "3\t1\n", "5\t1\n"]
    told = [(each["line"], each["error"], each["record"]) for each in bad(tmp_path)]
    delimiter = "ValueError: not CSV: ',' expected after '\"'"
    assert told == [
        (3, delimiter, '2,"a"b\n'), (5, delimiter, '4,"d\ne"f\n'),
        (8, "ValueError: not CSV: unexpected end of data", '0,"\nh'),
    ]  # fmt: skip
    with pytest.raises(JobFailed, match=r"not CSV: ',' expected .* line 3"):
        run(lengths)
    monkeypatch.setattr("ringmill.cluster.mapreduce.files.parsing.csv_rows.FIELD_CHARS", 100_000)
    run(replace(lengths, on_bad_record="quarantine:9"))
    [(line, error, record), *_] = [(each["line"], each["error"], each["record"]) for each in bad(tmp_path)]
    assert (line, error) == (2, "ValueError: not CSV: field larger than field limit (100000)")
    assert len(record) == 16 * 1024


@pytest.mark.parametrize("split", [1 << 20, 5])
def test_one_more_than_may_be_fails_the_job(tmp_path: Path, run: Run, split: int) -> None:
    (tmp_path / "in" / "a.txt").write_text("x 11\n" * 3)
    few = replace(numbers_job, on_bad_record="quarantine:2")
    with pytest.raises(JobFailed, match="more than 2 bad records") as failed:
        run(few, split=split)
    assert failed.value.detail["cause"] == "UserError"
    assert not (tmp_path / "out").exists()
    run(replace(numbers_job, on_bad_record="quarantine:3"), split=split)
    assert len(bad(tmp_path)) == 3


def test_a_job_without_a_bad_record_has_an_empty_file(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in" / "a.txt").write_text("1\n")
    run(numbers_job)
    assert bad(tmp_path) == []


def unlucky(offset: int, line: str) -> Iterator[tuple[str, int]]:
    raise {"disk": OSError("no such disk"), "memory": MemoryError()}[line]
    yield line, 1


def no_pairs(offset: int, line: str) -> Iterator[tuple[str, int]]:
    return 5  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("mapper", "line", "message"),
    [
        (unlucky, "disk", "no such disk"),
        (unlucky, "memory", "MemoryError"),
        (no_pairs, "", "'int' object is not iterable"),
    ],
)
def test_what_is_not_the_fault_of_the_record_fails_the_task(
    tmp_path: Path, run: Run, mapper: Any, line: str, message: str
) -> None:
    (tmp_path / "in" / "a.txt").write_text(f"{line}\n")
    with pytest.raises(JobFailed, match=message):
        run(job(map=mapper, on_bad_record="quarantine:9"))


def test_long_records_are_cut(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in" / "a.txt").write_text("x" * 100_000 + "\n")
    run(numbers_job)
    assert len(bad(tmp_path)[0]["record"]) == 16 * 1024


def batch(lines: list[bytes]) -> list[bytes]:
    return lines


@pytest.mark.parametrize(
    "wrong", ["skip", "quarantine", "quarantine:0", "quarantine:100001", "quarantine:-1", 7]
)
def test_other_settings_are_refused(wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match="on_bad_record"):
        bad_records_of(wrong)
    with pytest.raises(InvalidArgument, match="on_bad_record"):
        job(map=numbers, on_bad_record=wrong)


def test_a_job_of_batches_cannot_tell_which_record_is_bad() -> None:
    with pytest.raises(InvalidArgument, match="map_batch takes many at once"):
        job(map_batch=batch, on_bad_record="quarantine:1")


def test_the_manifest_names_the_file() -> None:
    spec = JobSpec.of(
        numbers_job,
        job="j",
        module="m",
        name="n",
        bundle_sha256="",
        inputs=("/in",),
        output="/out",
        reducers=2,
    )
    names = [spec.file_of(number) for number in range(spec.partitions)]
    assert names == ["part-00000", "part-00001", "_BAD_RECORDS"]
    staged = [StagedPart(n, f"/s/{n}", 1, 2, 3, name) for n, name in enumerate(names)]
    assert [row["name"] for row in json.loads(manifest(staged))["parts"]] == names


def taking(offset: int, row: dict[str, Any]) -> Iterator[tuple[str, int]]:
    who = row.pop("user")
    row["tags"].append(who)
    yield who, int(row["n"])


def test_a_record_that_map_has_changed_is_set_aside_as_it_was_read(tmp_path: Path, run: Run) -> None:
    record = {"user": "ann \udc80", "n": "x", "tags": [1, [2]]}
    (tmp_path / "in" / "a.jsonl").write_text(json.dumps(record) + "\n")
    run(job(map=taking, input=FileInput("jsonl"), on_bad_record="quarantine:9"))
    assert [each["record"] for each in bad(tmp_path)] == [record]


@dataclass(frozen=True)
class Marked:
    marks: list[int]


def marked(offset: int, line: str) -> Iterator[tuple[int, Marked]]:
    yield offset, Marked([offset])


def unmarking(offset: int, value: Marked) -> Iterator[tuple[int, int]]:
    value.marks.clear()
    raise ValueError(str(value))


def test_so_is_a_dataclass(tmp_path: Path, run: Run) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    stored = job(map=marked, output=FileOutput("records"), reducers=0)
    run_local(stored, f"{tmp_path}/a.txt", f"{tmp_path}/in/stored")
    run(job(map=unmarking, input=FileInput("records"), on_bad_record="quarantine:9"))
    assert [each["record"] for each in bad(tmp_path)] == ["Marked(marks=[0])"]


def test_records_that_are_named_as_fatal_are_set_aside_unseen(tmp_path: Path, files: OsFileSystem) -> None:
    (tmp_path / "in").write_text("1\n2 x\n3\n4\n")
    spec = JobSpec.of(
        numbers_job, job="j", module="m", name="n", bundle_sha256="", inputs=(f"{tmp_path}/in",), output="/o",
    )  # fmt: skip
    [split] = plan_input(spec.readings, files).splits
    told: list[int] = []
    output = run_map(
        numbers_job, MapAttempt(spec, replace(split, fatal=(1, 3)), 0, 1), files, str(tmp_path),
        Progress(at_record=told.append),
    )  # fmt: skip
    aside = output.slice(spec.reducers)
    lines = [json.loads(line) for _, values in read_groups(files, aside, LINES) for line in values]
    assert [(each["offset"], each["record"], each["error"][:20]) for each in lines] == [
        (0, "1", "Killed: the process "),
        (2, "2 x", "ValueError: invalid "),
        (6, "3", "Killed: the process "),
    ]  # fmt: skip
    assert told == [2, 0, 4, 0], "map had only these, and none in between"


def test_a_record_for_which_there_is_no_memory_is_named_by_its_number(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in" / "a.txt").write_text("1\n2\n")
    with pytest.raises(JobFailed, match=r"too much, at .*a.txt offset 2 at record 2 of the split"):
        run(job(map=needs_much, on_bad_record="quarantine:9"))


def test_of_a_keyspace_no_record_is_left_out_by_its_number(
    tmp_path: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").write_text("1\n2\n3\n4\n")
    attempt = attempt_of(numbers_job, tmp_path, files, fatal=(1, 3))
    assert attempt.spec.has_sure_numbers(0)
    of_keyspace = JobSpec.of(
        job(map=rows_of, input=KvInput(), on_bad_record="quarantine:9"), job="j", module="m", name="n",
        bundle_sha256="", inputs=("kv:users",), output="/o",
    )  # fmt: skip
    assert not of_keyspace.has_sure_numbers(0)
    monkeypatch.setattr(JobSpec, "has_sure_numbers", lambda *_: False)
    told: list[int] = []
    folder = str(tmp_path)
    output = run_map(numbers_job, attempt, files, folder, Progress(at_record=told.append))
    assert (output.partitions[-1].records, output.records_out, told) == (0, 4, [])
    greedy = job(map=needs_much, on_bad_record="quarantine:9")
    with pytest.raises(TaskFailed, match=r"too much at .*in offset 2$") as failed:
        run_map(greedy, attempt_of(greedy, tmp_path, files), files, f"{folder}/other", Progress())
    assert failed.value.fatal_record == 0


def rows_of(key: str, value: str) -> Iterator[tuple[str, str]]:
    yield key, value


def test_a_lack_of_memory_in_the_sample_names_no_record_of_the_split(
    tmp_path: Path, files: OsFileSystem
) -> None:
    (tmp_path / "in").write_text("1\n2\n3\n4\n")
    total = job(map=needs_much, order="total", on_bad_record="quarantine:9")
    told: list[int] = []
    with pytest.raises(TaskFailed, match=r"too much at .*in offset 2$") as failed:
        run_map(
            total, attempt_of(total, tmp_path, files), files, str(tmp_path), Progress(at_record=told.append)
        )
    assert (failed.value.cause, failed.value.fatal_record, told) == (Cause.OUT_OF_MEMORY, 0, [])


def attempt_of(
    definition: JobDefinition, folder: Path, files: OsFileSystem, fatal: tuple[int, ...] = ()
) -> MapAttempt:
    spec = JobSpec.of(
        definition, job="j", module="m", name="n", bundle_sha256="", inputs=(f"{folder}/in",), output="/o",
        reducers=2,
    )  # fmt: skip
    [split] = plan_input(spec.readings, files, sampled=spec.order == "total").splits
    return MapAttempt(spec, replace(split, fatal=fatal), 0, 1)


def needs_much(offset: int, line: str) -> Iterator[tuple[int, str]]:
    if offset:
        raise MemoryError("too much")
    yield offset, line
