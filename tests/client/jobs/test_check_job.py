"""Laws are tried on the first records of a job's input, whatever its format."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ringmill import Command, Context, FileInput, FileOutput, KvInput, Source, Sum, job, pipeline, run_local
from ringmill.client.cli.main import main
from ringmill.client.jobs.trying.check_job import check_job
from ringmill.cluster.errors import InvalidArgument, JobFailed
from tests.cluster.mapreduce import kept_states


def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def mean(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    held = list(counts)
    yield word, sum(held) // len(held) + len(held)


def of_row(line: int, row: dict[str, str], ctx: Context) -> Iterator[tuple[str, int]]:
    yield Path(ctx.side("names")).read_text() + row["a"] + ctx.params["end"], 1


def of_block(block: bytes) -> dict[bytes, int]:
    return {block: 1}


def of_records(word: str, count: int) -> Iterator[tuple[int, str]]:
    yield count, word


def of_keys(key: bytes, value: bytes) -> Iterator[tuple[str, int]]:
    yield key.decode(), len(value)


numbers = itertools.count()


def drawn(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield line, next(numbers)


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "in").write_text("a b a\nb a\nc a\n" * 10)
    return str(tmp_path / "in")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (job(map=words, reduce=Sum()), ""),
        (job(map=words, combine=mean, reduce=mean), "without combine"),
        (job(map=drawn), "for the same record"),
        (job(map_batch=of_block, input=FileInput("bytes")), "depend on where batches end"),
    ],
)
def test_a_broken_law_is_told_and_how_many_records_were_tried(text: str, given: Any, said: str) -> None:
    found = check_job(given, text, records=20)
    assert found.records == 20
    assert said in (found.broken or ("",))[0] and bool(found.broken) == bool(said)


def test_each_format_gives_what_map_takes(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "names").write_text("n")
    rows = job(map=of_row, input=FileInput("csv"), side={"names": ""}, params={"end": ""})
    found = check_job(rows, f"{tmp_path}/rows", params={"end": "!"}, side={"names": f"{tmp_path}/names"})
    assert (found.records, found.broken) == (2, ())
    run_local(job(map=words, reduce=Sum(), output=FileOutput("records")), text, f"{tmp_path}/stored")
    assert check_job(job(map=of_records, input=FileInput("records")), f"{tmp_path}/stored").records == 3
    two = job(sources=[Source("some", map=words), Source("rest", map=words)], reduce=Sum())
    assert check_job(two, {"some": text, "rest": text}, records=7).records == 14


def test_states_are_read_as_pairs(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1\n2\n")
    stored = job(map=kept_states.place_of, output=FileOutput("records"))
    run_local(stored, f"{tmp_path}/in", f"{tmp_path}/stored")
    assert check_job(kept_states.step, f"{tmp_path}/stored").records == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            pipeline(job(map=words, reduce=Sum()), job(map=of_records, input=FileInput("records"))),
            "a pipeline",
        ),
        (job(map=of_records, input=KvInput()), "reads a keyspace"),
        (
            job(sources=[Source("some", map=words), Source("rest", map=of_keys, input=KvInput())]),
            "reads a keyspace",
        ),
        (job(map=Command(["cat"])), "a program cannot"),
    ],
)
def test_what_has_no_sample_is_refused(text: str, given: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        check_job(given, text)


def test_input_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("{\n")
    with pytest.raises(JobFailed, match="not JSON"):
        check_job(job(map=words, input=FileInput("jsonl")), f"{tmp_path}/in")


def test_the_verb_says_what_is_broken_and_exits_with_1(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checked.py").write_text(
        "from collections.abc import Iterable, Iterator\nfrom ringmill import Sum, job\nprint('loud')\n"
        "def words(offset: int, line: str) -> Iterator[tuple[str, int]]:\n"
        "    yield from ((word, 1) for word in line.split())\n"
        "def last(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:\n"
        "    yield word, len(list(counts))\n"
        "good = job(map=words, reduce=Sum())\n"
        "bad = job(map=words, combine=last, reduce=last)\n".replace("\\\n", "\n")
    )
    monkeypatch.chdir(tmp_path)
    assert main(["job", "check", "checked.py:good", "--input", "in", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"records": 30, "broken": []}
    assert main(["job", "check", "checked.py:bad", "--input", "in", "--records", "9", "-o", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["records"] == 9 and "without combine" in told["broken"][0]
