"""A whole job in process: what a user sees of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.wordcount import wordcount
from ringmill import Context, Distinct, FileOutput, JobDefinition, Sum, job, run_local
from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed


def _records(folder: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in sorted(folder.glob("part-*")):
        for line in part.read_bytes().decode("utf-8", "surrogateescape").split("\n")[:-1]:
            word, count = line.split("\t")
            assert word not in found, "a key belongs to one part"
            found[word] = int(count)
    return found


SEEN: list[str] = []


def look(offset: int, folder: str) -> Iterator[tuple[str, int]]:
    SEEN.extend(path.name for path in Path(folder).iterdir() if path.name.startswith("."))
    yield folder, 1


def first(folder: str, ones: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield folder, min(ones)


looking = job(map=look, reduce=first)


def test_each_run_stages_its_output_in_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text(str(tmp_path))
    for _ in range(2):
        run_local(looking, str(tmp_path / "in.txt"), str(tmp_path / "out"), overwrite=True)
    assert len(SEEN) == len(set(SEEN)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out"]


def test_every_word_is_counted_once_whatever_the_line_ends_and_the_encoding(tmp_path: Path) -> None:
    text = b"one two\r\ntwo \xff\xfe three\n\nThree THREE \xc3\xa4\x0b\xc3\xa4 end"
    (tmp_path / "in.txt").write_bytes(text)
    result = run_local(wordcount, str(tmp_path / "in.txt"), str(tmp_path / "out"))
    oracle = Counter(text.decode("utf-8", "surrogateescape").lower().split())
    assert _records(tmp_path / "out") == oracle
    assert result.records["map_in"] == 4
    assert result.records["map_out"] == sum(oracle.values())


def test_parts_are_sorted_and_named_and_success_lists_their_sizes(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("b a d c a " * 50)
    run_local(wordcount, str(tmp_path / "in.txt"), str(tmp_path / "out"), reducers=3)
    parts = sorted((tmp_path / "out").glob("part-*"))
    assert [part.name for part in parts] == ["part-00000", "part-00001", "part-00002"]
    for part in parts:
        lines = part.read_text().splitlines()
        assert lines == sorted(lines)
    told = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    assert [(row["name"], row["size"]) for row in told["parts"]] == [
        (p.name, p.stat().st_size) for p in parts
    ]


def test_an_existing_output_is_refused_unless_overwritten_and_nothing_is_left_beside_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "in.txt").write_text("a")
    out = tmp_path / "out"
    run_local(wordcount, str(tmp_path / "in.txt"), str(out))
    (tmp_path / "in.txt").write_text("b")
    with pytest.raises(InvalidArgument, match="exists"):
        run_local(wordcount, str(tmp_path / "in.txt"), str(out))
    assert _records(out) == {"a": 1}
    run_local(wordcount, str(tmp_path / "in.txt"), str(out), overwrite=True)
    assert _records(out) == {"b": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out"]


def test_a_folder_that_no_job_made_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidArgument, match="not the output of a job"):
        run_local(wordcount, str(tmp_path / "in.txt"), str(tmp_path / "precious"), overwrite=True)
    assert (tmp_path / "precious" / "thesis.txt").exists()


@pytest.mark.parametrize("given", ["", [""], [None], [b"in"]])
def test_an_empty_input_is_not_the_current_folder(tmp_path: Path, given: Any) -> None:
    with pytest.raises(InvalidArgument, match="is no path"):
        run_local(wordcount, given, str(tmp_path / "out"))


def wide(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield line, 10**5000


@pytest.mark.parametrize("format", ["tsv", "jsonl"])
def test_a_number_that_python_refuses_to_write_is_the_users_error(tmp_path: Path, format: Any) -> None:
    (tmp_path / "in").write_text("a\n")
    with pytest.raises(JobFailed) as caught:
        run_local(job(map=wide, output=FileOutput(format)), str(tmp_path / "in"), str(tmp_path / "out"))
    assert caught.value.detail["cause"] == "UserError"
    assert "4300 digits" in str(caught.value)


def test_an_input_that_names_no_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="missing"):
        run_local(wordcount, str(tmp_path / "missing-*.txt"), str(tmp_path / "out"))


def test_another_hash_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.txt").write_text(" ".join(f"w{n * n % 97}" for n in range(500)))
    program = (
        "import sys, ringmill; from examples.inverted_index import inverted_index as job; "
        "ringmill.run_local(job, sys.argv[1] + '/in', sys.argv[1] + '/' + sys.argv[2])"
    )
    for seed in ("1", "2"):
        arguments = [sys.executable, "-c", program, str(tmp_path), seed]
        subprocess.run(arguments, cwd=Path(__file__).parents[4], env={"PYTHONHASHSEED": seed}, check=True)
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert names[0] == "_SUCCESS"
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_an_error_of_the_users_code_names_the_line_and_the_record(tmp_path: Path) -> None:
    from tests.cluster.mapreduce import broken_jobs

    (tmp_path / "in.txt").write_text("1\n2\nthree\n")
    with pytest.raises(JobFailed) as caught:
        run_local(broken_jobs.numbers, str(tmp_path / "in.txt"), str(tmp_path / "out"))
    assert caught.value.detail["cause"] == "UserError"
    assert caught.value.detail["position"] == f"{tmp_path / 'in.txt'} offset 4"
    assert "broken_jobs.py" in caught.value.detail["frames"][0]
    assert len(str(caught.value).splitlines()) < 12
    assert not (tmp_path / "out").exists()


def test_the_users_line_is_shown_however_deep_below_it_a_library_fails() -> None:
    frames = ("count.py:7 in words()", *(f"library.py:{n} in deep()" for n in range(20)))
    shown = str(TaskFailed(Cause.USER_ERROR, "KeyError: 1", frames).as_job_error("map-0", 2)).splitlines()
    assert shown[1:4] == ["  count.py:7 in words()", "  library.py:0 in deep()", "  library.py:1 in deep()"]
    assert shown[4:] == ["  ...", *(f"  library.py:{n} in deep()" for n in (17, 18, 19))]


def fails_at_seven(offset: int, line: str) -> Iterator[tuple[str, int]]:
    if line == "7":
        raise KeyError("no such thing")
    if line == "gone":
        os._exit(3)
    yield line, os.getpid()


def all_of(line: str, numbers: Iterable[int]) -> Iterator[tuple[str, list[int]]]:
    yield line, sorted(set(numbers))


fragile = job(map=fails_at_seven, reduce=all_of)


def test_in_some_processes_the_output_is_the_same(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"in-{number}").write_text("a word or two\n" * 50_000)
    inputs = str(tmp_path / "in-*")
    alone = run_local(wordcount, inputs, str(tmp_path / "alone"))
    together = run_local(wordcount, inputs, str(tmp_path / "together"), processes=3)
    assert alone.records == together.records
    for one, other in zip(alone.parts, together.parts, strict=True):
        assert Path(one).read_bytes() == Path(other).read_bytes()
    run_local(fragile, inputs, str(tmp_path / "pids"), processes=2)
    parts = b"".join(part.read_bytes() for part in (tmp_path / "pids").glob("part-*"))
    assert str(os.getpid()).encode() not in re.findall(rb"\d+", parts)


def test_in_some_processes_a_failure_is_reported_in_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1\n7\n")
    told = []
    for processes in (1, 2):
        with pytest.raises(JobFailed, match=r"map-0, attempt 1: .*no such thing") as failed:
            run_local(fragile, str(tmp_path / "in"), str(tmp_path / "out"), processes=processes)
        told.append(str(failed.value))
    assert told[0] == told[1]
    (tmp_path / "in").write_text("gone\n")
    with pytest.raises(JobFailed, match="a process that ran a task is gone"):
        run_local(fragile, str(tmp_path / "in"), str(tmp_path / "out"), processes=2)
    with pytest.raises(InvalidArgument, match="processes is 0"):
        run_local(fragile, str(tmp_path / "in"), str(tmp_path / "out"), processes=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def waits_or_ends(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, int]]:
    Path(ctx.params["begun"], line).touch()
    if line != "end":
        time.sleep(30)
    while len(os.listdir(ctx.params["begun"])) < 2:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
    yield line, 1


def test_a_task_that_runs_beside_one_whose_process_is_killed_is_not_blamed_alone(tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    for line in ("a", "end"):  # each is a split
        (tmp_path / f"in-{line}").write_text(f"{line}\n" * (900_000 // (len(line) + 1)))
    definition = job(map=waits_or_ends, reduce=all_of, params={"begun": f"{tmp_path}/begun"})
    with pytest.raises(JobFailed, match="one of map-0, map-1, which ran then: Killed") as failed:
        run_local(definition, f"{tmp_path}/in-*", f"{tmp_path}/out", processes=2, split_mib=1)
    assert failed.value.detail["tasks"] == ["map-0", "map-1"]
    assert "task" not in failed.value.detail


def first_word(offset: int, line: str) -> list[tuple[str, int]]:
    return [(next(iter(line.split())), 1)]


def first_value(word: str, ones: Iterable[int]) -> list[tuple[str, int]]:
    return [(next(iter([word] if word != "b" else [])), sum(ones))]


def numbers(offset: int, line: str) -> Iterator[tuple[str, float]]:
    yield "sum", float(line)


def truths(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield line, line == "a"


@pytest.mark.parametrize(
    "definition", [job(map=first_word, reduce=first), job(map=fails_at_seven, reduce=first_value)]
)
def test_a_function_that_stops_an_iteration_by_mistake_does_not_end_the_input(
    definition: JobDefinition, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("a\nb\n\nc\nd\n")
    with pytest.raises(JobFailed, match=r"UserError: StopIteration( at |$|\n)"):
        run_local(definition, str(tmp_path / "in"), str(tmp_path / "out"))


def leaky() -> Iterator[str]:
    yield next(iter(()))


leaky.__code__ = leaky.__code__.replace(co_filename="library.py")


def from_a_library(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in leaky():
        yield word, 1


def test_the_stop_of_a_librarys_generator_is_the_error_of_the_map_that_calls_it(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a\n")
    with pytest.raises(JobFailed, match=r"UserError: RuntimeError: generator raised StopIteration"):
        run_local(job(map=from_a_library), str(tmp_path / "in"), str(tmp_path / "out"))


def test_infinities_beside_sums_beyond_all_floats(tmp_path: Path) -> None:
    for added, expected in (("inf", "Infinity"), ("-inf", "-Infinity"), ("nan", "NaN")):
        (tmp_path / "in").write_text(f"1e308\n1e308\n{added}\n")
        adding = job(map=numbers, reduce=Sum())
        run_local(adding, str(tmp_path / "in"), str(tmp_path / "out"), overwrite=True, reducers=1)
        assert (tmp_path / "out" / "part-00000").read_text() == f"sum\t{expected}\n"


def test_a_value_of_another_type_than_declared_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a\nb\n")
    with pytest.raises(JobFailed, match="UserError"):
        run_local(job(map=truths, reduce=Distinct()), str(tmp_path / "in"), str(tmp_path / "out"))
