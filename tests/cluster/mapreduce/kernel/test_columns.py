"""Jobs on columns of Arrow give what jobs on single records give, however their files are cut."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ringmill import FileInput, broken_laws, job, run_local
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.chance import TaskRandom
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.files import columnar, readers, splits
from ringmill.cluster.mapreduce.files.readers import SplitReader
from ringmill.cluster.mapreduce.files.splits import InputFile, Piece, Split
from tests.cluster.mapreduce import column_jobs

ROWS = [
    {"town": f"T{n % 13}", "cents": n * 7, "note": 'a "quoted"\nline, and more' * (n % 3)} for n in range(800)
]
TABLE = pa.Table.from_pylist(ROWS)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many pieces a file, some without a row group, and several batches a row group."""
    monkeypatch.setattr(columnar, "BATCH_ROWS", 70)
    monkeypatch.setattr(columnar, "CSV_BLOCK_BYTES", 1000)
    monkeypatch.setattr(readers, "BATCH_BYTES", 97)
    monkeypatch.setattr(splits, "split_bytes", lambda *_: 2500)


def output(definition: JobDefinition, input: Path, folder: Path, **more: Any) -> tuple[list[bytes], Any]:
    result = run_local(definition, str(input), str(folder), **more)
    return [Path(part).read_bytes() for part in result.parts], result


def test_sums_of_columns_are_those_of_records(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    pq.write_table(TABLE, tmp_path / "in.parquet", row_group_size=150)
    with pa.ipc.new_file(tmp_path / "in.arrow", TABLE.schema) as file:
        file.write_table(TABLE, max_chunksize=90)
    wanted, told = output(column_jobs.by_record, tmp_path / "in.jsonl", tmp_path / "wanted")
    for name, kind in (("by_parquet", "parquet"), ("by_arrow", "arrow"), ("by_pairs", "parquet")):
        for processes in (1, 2):
            made, told_too = output(
                getattr(column_jobs, name), tmp_path / f"in.{kind}", tmp_path / f"{name}-{processes}",
                processes=processes,
            )  # fmt: skip
            assert made == wanted, name
            assert told_too.records["map_in"] == told.records["map_in"] == 800


def test_each_source_of_a_job_may_have_columns_of_its_own(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "in.parquet", row_group_size=150)
    with pa.ipc.new_file(tmp_path / "in.arrow", TABLE.schema) as file:
        file.write_table(TABLE, max_chunksize=90)
    (tmp_path / "in.csv").write_text("town,cents\n" + "".join(f"{r['town']},{r['cents']}\n" for r in ROWS))
    inputs = {"rows": "in.csv", "columns": "in.parquet", "batches": "in.arrow"}
    made = run_local(
        column_jobs.both,
        {name: str(tmp_path / file) for name, file in inputs.items()},
        str(tmp_path / "out"),
        processes=2,
    )
    sums: Counter[str] = Counter()
    for row in ROWS:
        sums[str(row["town"])] += 3 * int(str(row["cents"]))
    lines = [line for part in made.parts for line in Path(part).read_text().splitlines()]
    assert dict(line.split("\t") for line in lines) == {town: str(cents) for town, cents in sums.items()}


def test_a_source_that_goes_to_every_task_has_its_columns_alone(tmp_path: Path) -> None:
    pq.write_table(TABLE.slice(0, 40), tmp_path / "in.parquet")
    inputs = dict.fromkeys(("left", "right"), str(tmp_path / "in.parquet"))
    for strategy in ("merge", "broadcast"):
        made = run_local(column_jobs.joined(strategy), inputs, str(tmp_path / strategy))
        lines = {line for part in made.parts for line in Path(part).read_text().splitlines()}
        assert lines == {f"T{n}\t[2,1]" for n in range(13)}, strategy


def test_rows_of_csv_are_columns_of_text(tmp_path: Path) -> None:
    cells = ["town,cents,note"] + [
        ",".join('"' + str(cell).replace('"', '""') + '"' for cell in row.values()) for row in ROWS
    ]
    text = ("\ufeff" + "\r\n".join(cells) + "\r\n").encode()
    (tmp_path / "in.csv").write_bytes(text)
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(text))
    wanted, told = output(column_jobs.by_row, tmp_path / "in.csv", tmp_path / "wanted")
    for name, processes in (
        ("in.csv", 1),
        ("packed.csv.gz", 1),
        ("in.csv", 2),
    ):  # forked from Arrow's threads
        made, told_too = output(
            column_jobs.by_csv, tmp_path / name, tmp_path / f"{processes}-of-{name}", processes=processes
        )
        assert made == wanted
        assert told_too.records["map_in"] == told.records["map_in"] == 800


CONTENTS = [
    b"", b"\n", b"\r\n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n", b"a,b", b"a,b\n", b"\n\na,b", b'"a\nc",b',
    b"\na,b\n1,2\n", b"\xef\xbb\xbf\r\na,b\r\n1,2\r\n", b"a,b\n\n1,2\n\n", b"a,b\n1,2", b"a,b\n,\n",
    b'a,b\n"x\ny",2', b'a,b\n"",""\n', b'""\n1\n', b"a,b\n 1, 2\n",
    b"a,b\n1\n", b"a,b\n1,2,3\n", b'a,b\n"x', b"a,b\n" + b"1,2\n" * 300,
]  # fmt: skip


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_rows_of_csv_are_the_same_as_columns_and_as_dicts(
    tmp_path: Path, files: OsFileSystem, suffix: str
) -> None:
    path = tmp_path / f"in.csv{suffix}"
    for content in CONTENTS:
        path.write_bytes(gzip.compress(content) if suffix else content)
        assert rows_of_csv(path, files, pa.RecordBatch) == rows_of_csv(path, files, dict[str, str]), content


def rows_of_csv(path: Path, files: OsFileSystem, hint: Any) -> list[Any] | None:
    """None where the file is refused."""
    file = InputFile(str(path), path.stat().st_size, path.stat().st_mtime_ns)
    split = Split(0, (Piece(file, 0, file.size),))
    reader = SplitReader(split, "csv", hint, files=files, context=Context("map-0", TaskRandom("0/map-0")))
    try:
        if hint is pa.RecordBatch:
            return [row for _, batch in reader.batches(hint) for row in batch.to_pylist()]
        return [row for block in reader.records() for _, row in block]
    except TaskFailed:
        return None


def test_lines_are_a_column(tmp_path: Path) -> None:
    text = "one two\r\ntwo  three\n\n\u00e4\r\r\nend".encode() * 30
    (tmp_path / "in.txt").write_bytes(text)
    wanted, _ = output(column_jobs.words_by_line, tmp_path / "in.txt", tmp_path / "wanted")
    made, told = output(column_jobs.words_by_column, tmp_path / "in.txt", tmp_path / "out")
    assert made == wanted
    assert told.records["map_in"] == 30 * 4 + 1
    (tmp_path / "bytes").write_bytes(text + b"\xff\r")
    (copied,), _ = output(column_jobs.copied, tmp_path / "bytes", tmp_path / "copied")
    assert copied == (text + b"\xff\n").replace(b"\r\n", b"\n")
    (raw,), _ = output(column_jobs.copied_raw, tmp_path / "bytes", tmp_path / "raw")
    assert raw == text + b"\xff\r\n"
    with pytest.raises(JobFailed, match=r"no UTF-8.*FileInput\(\"bytes\"\).* at .*bytes offset"):
        output(column_jobs.words_by_column, tmp_path / "bytes", tmp_path / "none")


def test_a_batch_begins_at_a_row_and_each_row_comes_once(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "in.parquet", row_group_size=150)
    made, _ = output(column_jobs.placed, tmp_path / "in.parquet", tmp_path / "out")
    lines = [tuple(map(int, line.split(b"\t"))) for line in b"".join(made).splitlines()]
    assert {width for start, width in lines if start < 0} == {1}  # of three columns
    at = 0
    for start, rows in lines:
        if start >= 0:
            assert start == at
            at += rows
    assert at == 800


def test_wide_rows_come_in_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "split_bytes", lambda *_: 1 << 30)
    monkeypatch.setattr(columnar, "BATCH_BYTES", 10_000)
    table = pa.table({"town": [f"{n:01000d}" for n in range(100)], "narrow": list(range(100))})
    pq.write_table(table, tmp_path / "in.parquet")
    made, _ = output(column_jobs.placed, tmp_path / "in.parquet", tmp_path / "out")
    starts = [int(line.split(b"\t")[0]) for line in b"".join(made).splitlines()]
    assert [start for start in starts if start >= 0] == list(range(0, 100, starts[2]))
    assert 5 <= starts[2] <= 10


@pytest.mark.parametrize("size", [1, 7, 100, 1_000_003])
@pytest.mark.parametrize("count", [0, 1, 3, 64, 1000])
def test_each_row_group_belongs_to_one_piece(size: int, count: int) -> None:
    file = splits.InputFile("/in", size, 0)
    cuts = [size * n // 5 for n in range(6)]
    numbers = [
        number
        for start, end in pairwise(cuts)
        for number in columnar._numbers_in(splits.Piece(file, start, end), count)
    ]
    assert numbers == list(range(count))


def takes_names(batch: list[str]) -> list[str]:
    return batch


def untyped_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


def three_columns(batch: pa.RecordBatch) -> Annotated[pa.RecordBatch, tuple[str, int]]:
    return batch


def wrong_key(batch: pa.RecordBatch) -> Annotated[pa.RecordBatch, tuple[str, int]]:
    return batch.select(["cents", "cents"])


def none_at_all(batch: pa.RecordBatch) -> Annotated[pa.RecordBatch, tuple[str, int]]:
    return None


def test_what_does_not_fit_is_refused_at_submit(tmp_path: Path) -> None:
    for function, format, message in [
        (takes_names, "parquet", r"gives pyarrow.RecordBatch, map_batch takes list\[str\]"),
        (column_jobs.sales, "lines", "map_batch takes RecordBatch"),
        (column_jobs.words, "bytes", "map_batch takes StringArray"),
        (untyped_columns, "arrow", "columns of unknown types"),
    ]:
        with pytest.raises(InvalidArgument, match=message) as caught:
            job(map_batch=function, input=FileInput(format))  # type: ignore[arg-type]
        assert format != "parquet" or "pip install 'ringmill[arrow]'" in caught.value.hint
    with pytest.raises(InvalidArgument, match="use map_batch"):
        job(map=column_jobs.sale, input=FileInput("parquet"))
    with pytest.raises(InvalidArgument, match="columns are chosen"):
        job(map=column_jobs.sale_of_text, input=FileInput("csv", columns=("town",)))
    (tmp_path / "in.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "in.arrow").write_bytes(b"PAR1....PAR1")
    (tmp_path / "in.parquet.gz").write_bytes(gzip.compress(b"PAR1....PAR1"))
    for name in ("in.parquet", "in.arrow", "in.parquet.gz"):
        definition = column_jobs.by_arrow if name == "in.arrow" else column_jobs.by_parquet
        with pytest.raises(InvalidArgument, match=f"{name} cannot be read as"):
            output(definition, tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (three_columns, r"two columns, not 3 columns"),
        (none_at_all, "two columns, not NoneType"),
        (wrong_key, "gave a key of type int, its hint says str: 0"),
    ],
)
def test_columns_that_were_not_declared_are_the_users_error(tmp_path: Path, function: Any, said: str) -> None:
    pq.write_table(TABLE, tmp_path / "in.parquet")
    with pytest.raises(JobFailed, match=said) as caught:
        output(job(map_batch=function, input=FileInput("parquet")), tmp_path / "in.parquet", tmp_path / "out")
    assert caught.value.detail["cause"] == "UserError"


def test_a_sample_of_rows_or_lines_is_tried_in_batches() -> None:
    assert broken_laws(column_jobs.by_parquet, ROWS[:20]) == []
    assert broken_laws(column_jobs.words_by_column, ["a b", "b", "c"]) == []
    counted = job(map_batch=column_jobs.where, input=FileInput("parquet"))
    assert len(broken_laws(counted, ROWS[:4])) > 0


def test_lack_of_memory_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short_of_memory(*_: object) -> Iterator[columnar.ColumnBatch]:
        raise pa.ArrowMemoryError("malloc of size 64 failed")
        yield

    monkeypatch.setitem(columnar._READERS, "parquet", short_of_memory)
    pq.write_table(TABLE, tmp_path / "in.parquet")
    with pytest.raises(JobFailed) as caught:
        output(column_jobs.by_parquet, tmp_path / "in.parquet", tmp_path / "out")
    assert caught.value.detail["cause"] == "OutOfMemory"


def test_a_damaged_file_or_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_bytes(b"PAR1" + b"\1" * 40 + b"PAR1")
    with pytest.raises(JobFailed, match=r"cannot read it as parquet.*in\.parquet"):
        output(column_jobs.by_parquet, tmp_path / "in.parquet", tmp_path / "out")
    pq.write_table(TABLE.select(["town"]), tmp_path / "in.parquet")
    with pytest.raises(JobFailed, match="no column cents; there are town"):
        output(column_jobs.by_parquet, tmp_path / "in.parquet", tmp_path / "out")
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(b"town,cents\n" + b"a,1\n" * 2000)[:-9])
    with pytest.raises(JobFailed, match=r"cannot unpack: .*cut off.* at .*in\.csv\.gz"):
        output(column_jobs.by_csv, tmp_path / "in.csv.gz", tmp_path / "out")
    (tmp_path / "in.csv").write_text("town,cents\na,1,2\n")
    with pytest.raises(JobFailed, match=r"cannot read it as csv: .*Expected 2 columns, got 3"):
        output(column_jobs.by_csv, tmp_path / "in.csv", tmp_path / "out")
