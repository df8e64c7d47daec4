"""Jobs that take and give columns of Arrow, beside jobs that do the same a record at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc

from ringmill import FileInput, FileOutput, Source, Sum, job, join
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.joining.joins import Strategy

Counted = Annotated[pa.RecordBatch, tuple[str, int]]


def sales(batch: pa.RecordBatch) -> Annotated[pa.Table, tuple[str, int]]:
    """Cents by town, added up in C."""
    table = pa.Table.from_batches([batch]).group_by("town").aggregate([("cents", "sum")])
    return table.select(["town", "cents_sum"])


def sales_pairs(batch: pa.RecordBatch) -> list[tuple[str, int]]:
    return list(zip(batch["town"].to_pylist(), batch["cents"].to_pylist(), strict=True))


def sale(offset: int, row: dict[str, Any]) -> Iterator[tuple[str, int]]:
    yield row["town"], row["cents"]


def sales_of_text(batch: pa.RecordBatch) -> Counted:
    return pa.RecordBatch.from_arrays([batch["town"], batch["cents"].cast(pa.int64())], ["key", "value"])


def sale_of_text(line: int, row: dict[str, str]) -> Iterator[tuple[str, int]]:
    yield row["town"], int(row["cents"])


def where(start: int, batch: pa.RecordBatch) -> list[tuple[int, int]]:
    return [(start, len(batch)), (-1, batch.num_columns)]


by_record = job(map=sale, reduce=Sum(), input=FileInput("jsonl"))
by_parquet = job(map_batch=sales, reduce=Sum(), input=FileInput("parquet", columns=("town", "cents")))
by_arrow = job(map_batch=sales, reduce=Sum(), input=FileInput("arrow"))
by_pairs = job(map_batch=sales_pairs, reduce=Sum(), input=FileInput("parquet"))
by_row = job(map=sale_of_text, reduce=Sum(), input=FileInput("csv"))
by_csv = job(map_batch=sales_of_text, reduce=Sum(), input=FileInput("csv", columns=("cents", "town")))
placed = job(map_batch=where, input=FileInput("parquet", columns=("town",)), order="input")


def seen(batch: pa.RecordBatch) -> list[tuple[str, int]]:
    """How many columns there are, for each town."""
    return [(town, batch.num_columns) for town in batch["town"].to_pylist()]


def joined(strategy: Strategy) -> JobDefinition:
    return join(
        Source("left", map_batch=seen, input=FileInput("parquet", columns=("town", "cents"))),
        Source("right", map_batch=seen, input=FileInput("parquet", columns=("town",))),
        strategy=strategy,
    )


both = job(
    sources=[
        Source("rows", map=sale_of_text, input=FileInput("csv")),
        Source("columns", map_batch=sales, input=FileInput("parquet", columns=("town", "cents"))),
        Source("batches", map_batch=sales_pairs, input=FileInput("arrow")),
    ],
    reduce=Sum(),
)


def words(lines: pa.StringArray) -> Counted:
    found = pc.split_pattern(lines, " ").flatten()
    return pa.RecordBatch.from_struct_array(found.filter(pc.not_equal(found, "")).value_counts())


def words_of_line(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split(" "):
        if word:
            yield word, 1


def same_lines(lines: pa.BinaryArray) -> list[bytes]:
    return list(lines.to_pylist())


words_by_line = job(map=words_of_line, reduce=Sum())
words_by_column = job(map_batch=words, reduce=Sum())
copied = job(
    map_batch=same_lines, input=FileInput("bytes"), output=FileOutput("lines"), order="input", reducers=1
)
copied_raw = job(
    map_batch=same_lines, input=FileInput("raw"), output=FileOutput("lines"), order="input", reducers=1
)
