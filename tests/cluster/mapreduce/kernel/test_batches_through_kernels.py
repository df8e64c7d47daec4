"""A map_batch gives the same bytes as the map of single records, and its failures say which batch it was."""

from __future__ import annotations

import bz2
import json
from pathlib import Path
from typing import Any

import pytest

from ringmill import FileInput, job, run_local
from ringmill.cluster.errors import JobFailed
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.files import readers
from tests.cluster.mapreduce import batch_jobs

TEXT = b"one two\r\ntwo \xff\xfe three\n\nbad Three \xc3\xa4\x0b\xc3\xa4 end\r\n" * 40 + b"no end"


def output(definition: JobDefinition, input: Path, folder: Path) -> tuple[list[bytes], Any]:
    result = run_local(definition, str(input), str(folder))
    return [Path(part).read_bytes() for part in result.parts], result


@pytest.mark.parametrize("style", ["of_texts", "of_bytes", "of_block", "alone", "pairs_counted"])
def test_words_are_the_same_in_every_style(
    tmp_path: Path, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in ("READ_BYTES", "BATCH_BYTES"):
        monkeypatch.setattr(readers, size, 97)  # many batches
    (tmp_path / "in.txt").write_bytes(TEXT)
    (tmp_path / "packed.bz2").write_bytes(bz2.compress(TEXT))
    plain, told = output(batch_jobs.per_record, tmp_path, tmp_path / "plain-out")
    (tmp_path / "plain-out").rename(tmp_path / "_plain-out")
    batched, told_too = output(getattr(batch_jobs, style), tmp_path, tmp_path / "out")
    assert batched == plain
    assert told_too.records["map_in"] == told.records["map_in"] == 2 * 161
    if style not in ("of_bytes", "of_block"):  # those count before they give
        assert told_too.records["map_out"] == told.records["map_out"]


def test_a_batch_knows_where_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in ("READ_BYTES", "BATCH_BYTES"):
        monkeypatch.setattr(readers, size, 97)
    (tmp_path / "in.txt").write_bytes(TEXT.replace(b"\r", b""))
    plain, _ = output(batch_jobs.placed, tmp_path / "in.txt", tmp_path / "plain")
    batched, told = output(batch_jobs.placed_by_batch, tmp_path / "in.txt", tmp_path / "out")
    assert batched == plain
    assert told.counters["lines"] == 161


def test_parsed_lines_and_rows_come_in_batches_too(tmp_path: Path) -> None:
    rows = [{"id": str(number), "name": f"n{number}"} for number in range(3000)]
    (tmp_path / "in.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    (tmp_path / "in.csv").write_text("id,name\n" + "".join(f"{row['id']},{row['name']}\n" for row in rows))
    made = {}
    for name in ("parsed", "parsed_by_batch", "rows", "rows_by_batch"):
        source = "in.jsonl" if name.startswith("parsed") else "in.csv"
        made[name], _ = output(getattr(batch_jobs, name), tmp_path / source, tmp_path / name)
    assert made["parsed"] == made["parsed_by_batch"] == made["rows"] == made["rows_by_batch"]
    assert sum(part.count(b"\n") for part in made["rows"]) == 3000


def test_a_failing_batch_is_named_by_its_offsets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in ("READ_BYTES", "BATCH_BYTES"):
        monkeypatch.setattr(readers, size, 16)
    (path := tmp_path / "in.txt").write_bytes(b"good\n" * 4 + b"bad\n" + b"good\n" * 4)
    with pytest.raises(JobFailed, match=f"ValueError: a bad line at {path} offset 15 to 29") as caught:
        run_local(
            job(map_batch=batch_jobs.failing, input=FileInput("bytes")), str(path), str(tmp_path / "out")
        )
    assert "batch_jobs.py" in caught.value.detail["frames"][0]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (batch_jobs.undeclared, "is declared to return a dict, and returned list"),
        (batch_jobs.nothing, "must give an iterable of what its hint says, not NoneType"),
        (batch_jobs.one_text, "must give an iterable of what its hint says, not bytes"),
        (batch_jobs.singles, "must give pairs"),
    ],
)
def test_a_result_that_was_not_declared_is_the_users_error(tmp_path: Path, function: Any, said: str) -> None:
    (tmp_path / "in.txt").write_text("abc\ndef")
    with pytest.raises(JobFailed, match=said) as caught:
        run_local(job(map_batch=function), str(tmp_path / "in.txt"), str(tmp_path / "out"))
    assert caught.value.detail["cause"] == "UserError"
