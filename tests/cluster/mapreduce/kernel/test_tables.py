"""Outputs in csv and parquet: the records of any other output, which other programs read as tables."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from ringmill import CollectOutput, FileOutput, job, read_result, run_local
from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.files.tables import parquet_part
from tests.cluster.mapreduce import table_jobs

Run: TypeAlias = Callable[..., list[Path]]
TEXT = "a b\na b c\n\n\u00e9 'x' a,b \u20ac\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "in").write_text(TEXT)

    def run(definition: Any, name: str = "out", **more: Any) -> list[Path]:
        result = run_local(definition, str(tmp_path / "in"), str(tmp_path / name), overwrite=True, **more)
        return [Path(part) for part in result.parts]

    return run


def test_csv_has_a_header_in_each_part_and_a_column_for_each_field(run: Run, tmp_path: Path) -> None:
    parts = run(table_jobs.as_csv)
    records = [
        record for each in parts for record in csv.DictReader(io.StringIO(each.read_bytes().decode(), ""))
    ]
    assert [tuple(each) for each in records] == [table_jobs.NAMES] * len(records)
    run(table_jobs.as_records, "records")
    assert [tuple(each.values()) for each in records] == [
        (word, str(seen.count), "" if seen.mean is None else repr(seen.mean), seen.note)
        for word, seen in read_result(table_jobs.as_records, str(tmp_path / "records"))
    ]
    again = run_local(table_jobs.from_csv, str(tmp_path / "out"), CollectOutput()).collected
    assert dict(again)["a"] == 2 and len(again) == len(records)
    packed = run(table_jobs.as_gzip, "gzip")
    assert [part.name for part in packed] == [f"part-0000{number}.gz" for number in range(3)]
    assert [gzip.decompress(each.read_bytes()) for each in packed] == [each.read_bytes() for each in parts]


def test_a_part_without_records_has_its_header(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("")
    assert {each.read_bytes() for each in run(table_jobs.as_csv)} == {b"word,count,mean,note\n"}
    assert {each.read_bytes() for each in run(table_jobs.bare)} == {b""}


def test_csv_keeps_the_order_of_the_input_and_other_bytes_than_utf_8(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"\xff,x\n\ny\rz\n")
    assert b"".join(each.read_bytes() for each in run(table_jobs.in_order)) == b'0,"\xff,x"\n4,\n5,"y\rz"\n'


def test_an_empty_cell_alone_is_no_blank_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("\n\na\n")
    one = job(map=alone, output=FileOutput("csv"), order="input", reducers=1)
    assert [each.read_bytes() for each in run(one)] == [b'""\n""\na\n']


def alone(offset: int, line: str) -> Iterator[tuple[str, None]]:
    yield line, None


def test_parquet_has_the_records_with_their_types(run: Run, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    parts = run(table_jobs.as_parquet)
    run(table_jobs.as_records, "records")
    tables = [parquet.read_table(each) for each in parts]
    assert [row for each in tables for row in each.to_pylist()] == [
        {"key": word, "count": seen.count, "mean": seen.mean, "note": seen.note}
        for word, seen in read_result(table_jobs.as_records, str(tmp_path / "records"))
    ]
    assert [str(field.type) for field in tables[0].schema] == ["string", "int64", "double", "string"]
    assert [field.nullable for field in tables[0].schema] == [False, False, True, False]
    assert parquet.ParquetFile(parts[0]).metadata.row_group(0).column(0).compression == "ZSTD"
    again = run(table_jobs.as_parquet, "again", processes=2)
    assert [each.read_bytes() for each in again] == [each.read_bytes() for each in parts]


def test_parquet_of_no_records_and_in_the_order_of_the_input(run: Run, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    tables = [parquet.read_table(each) for each in run(table_jobs.in_order_parquet)]
    lines, offset, rows = TEXT.encode().splitlines(), 0, []
    for line in lines:
        rows.append({"key_0": offset, "key_1": line})
        offset += len(line) + 1
    assert [row for each in tables for row in each.to_pylist()] == rows
    assert {len(each) for each in tables} == {0, len(lines)}


def test_what_is_nested_in_a_row_of_parquet(run: Run, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    [part] = run(table_jobs.map_only)
    assert parquet.read_table(part).to_pylist()[0] == {
        "at": 0, "words": [{"_0": "a", "_1": 1}, {"_0": "b", "_1": 1}], "halves": [("half", 1.5)],
        "seen": {"count": 1, "mean": None, "note": "a b"},
    }  # fmt: skip


def test_row_groups_end_by_the_bytes_of_the_records(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parquet_part, "GROUP_BYTES", 1 << 13)
    (tmp_path / "in").write_text("".join(f"{number}\n" for number in range(5000)))
    one = job(map=alone, output=FileOutput("parquet"), order="input", reducers=1)
    [part] = run(one)
    opened = parquet.ParquetFile(part)
    assert opened.num_row_groups > 2
    assert opened.read().column("key").to_pylist() == list(map(str, range(5000)))


@pytest.mark.parametrize(
    ("cell", "said"), [(1 << 70, "no int64 of Parquet"), ("\udcff", "no string of Parquet")]
)
def test_a_value_that_parquet_cannot_hold_fails_its_task(run: Run, cell: Any, said: str) -> None:
    pytest.importorskip("pyarrow")

    with pytest.raises(JobFailed, match=said) as failed:
        run(large if isinstance(cell, int) else broken)
    assert failed.value.detail["cause"] == "UserError"


def too_large(offset: int, line: str) -> Iterator[tuple[int, int]]:
    yield offset, 1 << 70


def no_text(offset: int, line: str) -> Iterator[tuple[int, str]]:
    yield offset, "\udcff"


large = job(map=too_large, output=FileOutput("parquet"))
broken = job(map=no_text, output=FileOutput("parquet"))


def anything(offset: int, line: str) -> Iterator[tuple[str, Any]]:
    yield line, offset


def nothing(offset: int, line: str) -> Iterator[tuple[None, None]]:
    yield None, None


@pytest.mark.parametrize(
    ("given", "output", "said"),
    [
        (alone, {"format": "csv", "columns": ("a", "b")}, "columns has 2 names, and .* gives 1: key"),
        (table_jobs.placed, {"format": "csv", "columns": ("a", "a")}, "two columns have one name: a, a"),
        (nothing, {"format": "csv"}, "make no column of a table"),
        (anything, {"format": "parquet"}, "a column value of type Any, which Parquet has none for"),
        (alone, {"format": "tsv", "columns": ("a",)}, "columns are for csv and parquet, not for tsv"),
        (alone, {"format": "csv", "columns": "a"}, "columns must be names"),
    ],
)
def test_what_makes_no_table_is_refused_where_it_is_declared(given: Any, output: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        job(map=given, output=FileOutput(**output))


def wrong(offset: int, line: str) -> Iterator[tuple[tuple[int, int], None]]:
    yield (1, 2, 3), None  # type: ignore[misc]


def test_a_record_with_more_cells_than_its_hint_says_fails_its_task(run: Run) -> None:
    with pytest.raises(JobFailed, match=r"gave \(1, 2, 3\) -> None where its hint says tuple"):
        run(job(map=wrong, output=FileOutput("csv"), order="input", reducers=1))
