"""A job on columns of a Parquet file, with compressed output, typed in a shell at five real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

SALES = """
from typing import Annotated
import pyarrow as pa
from ringmill import FileInput, FileOutput, Sum, job

def sales(batch: pa.RecordBatch) -> Annotated[pa.Table, tuple[str, int]]:
    table = pa.Table.from_batches([batch]).group_by("town").aggregate([("cents", "sum")])
    return table.select(["town", "cents_sum"])

cents = job(
    map_batch=sales,
    reduce=Sum(),
    input=FileInput("parquet", columns=("town", "cents")),
    output=FileOutput("tsv", compression="zstd"),
    reducers=2,
)
"""


def test_columns_are_added_up_in_task_processes_that_alone_load_arrow(shell: Shell) -> None:
    (shell.folder / "sales.py").write_text(SALES)
    count = 300_000
    table = pa.table({
        "town": [f"T{n % 101}" for n in range(count)],
        "cents": list(range(count)),
        "note": [f"{n * 7919 % 1_000_003}" for n in range(count)],
    })  # fmt: skip
    pq.write_table(table, shell.folder / "in.parquet", row_group_size=20_000)
    line = ("sales.py:cents", "--input", "in.parquet", "--split-mib", "1", "--output")
    done = shell.ok("job", "run", *line, "sales-out", "-o", "json").json
    assert done["state"] == "SUCCEEDED" and done["tasks"]["map"] > 1 and done["tasks"]["retried"] == 0
    assert done["records"]["map_in"] == count
    shell.ok("job", "local", *line, "local")
    parts = [shell.folder / "sales-out" / f"part-0000{number}.zst" for number in range(2)]
    for part in parts:
        assert part.read_bytes() == (shell.folder / "local" / part.name).read_bytes()
    printed = shell.ok("job", "output", done["job"], "--cat").out.decode().splitlines()
    assert dict(line.split("\t") for line in printed) == {
        f"T{town}": str(sum(range(town, count, 101))) for town in range(101)
    }
    nodes = json.loads((shell.folder / "home" / "default" / "cluster.json").read_text())["nodes"]
    for node in nodes:
        assert b"libarrow" not in Path(f"/proc/{node['pid']}/maps").read_bytes()


TABLE = """
from collections.abc import Iterator
from ringmill import Count, FileOutput, job

def words(offset: int, line: str) -> Iterator[tuple[tuple[str, int], str]]:
    for word in line.split():
        yield (word, len(word)), word

counts = job(
    map=words, reduce=Count(), output=FileOutput("parquet", columns=("word", "chars", "count")), reducers=1
)
"""


def test_a_job_without_arrow_writes_a_table_in_parquet(shell: Shell) -> None:
    (shell.folder / "counts.py").write_text(TABLE)
    (shell.folder / "words.txt").write_text("a table of words\nof a table\n")
    line = ("counts.py:counts", "--input", "words.txt", "--output")
    done = shell.ok("job", "run", *line, "table", "-o", "json").json
    assert (done["state"], done["tasks"]["retried"]) == ("SUCCEEDED", 0)
    shell.ok("job", "local", *line, "table-local")
    part = (shell.folder / "table" / "part-00000").read_bytes()
    assert part == (shell.folder / "table-local" / "part-00000").read_bytes()
    assert pq.read_table(pa.BufferReader(part)).to_pydict() == {
        "word": ["a", "of", "table", "words"], "chars": [1, 2, 5, 5], "count": [2, 2, 2, 1],
    }  # fmt: skip
