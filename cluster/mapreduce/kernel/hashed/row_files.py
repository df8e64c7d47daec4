"""What a map task of a join by hash leaves: its rows under their keys, in the order in which map gave them.

Nothing is sorted: a stretch of a run for each part, which begins with the mark of the side.

I/O only through the FileSystem passed in.  Layout: docs/formats/job.md, "Joins".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Optional

from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.codecs.codecs import ValueCodec
from ringmill.cluster.mapreduce.files.run_file import RunWriter, read_rows_of
from ringmill.cluster.mapreduce.kernel.hashed.hash_join import MARKS
from ringmill.cluster.mapreduce.outputs import Slice
from ringmill.cluster.ports import FileSystem

__all__ = ["as_hashed", "put_together", "write_rows"]


def as_hashed(job: JobDefinition, side: int) -> JobDefinition:
    """The join as a map task of one side runs it: its rows leave as they are, under the keys of the join."""
    assert job.joining is not None
    branch = job.joining.sides[side]
    row: Any = Optional[branch.signature.out_value]  # noqa: UP045 - a type, not text; as row_codec has it
    return replace(
        job.of_source(side),
        map=branch.map,
        map_signature=replace(branch.signature, out_value=row),
        reduce=None,
        group_by=0,
        side_of_rows=side,
    )


def write_rows(
    writer: RunWriter,
    side: int,
    parts: int,
    placed: Iterable[tuple[int, bytes, Any]],
) -> None:
    """Each part's rows, given with their parts, in their order.  Raises InvalidArgument for a row that its
    hint forbids, OSError."""
    keys: list[list[bytes]] = [[] for _ in range(parts)]
    rows: list[list[Any]] = [[] for _ in range(parts)]
    for part, key, row in placed:
        keys[part].append(key)
        rows[part].append(row)
    for one in zip(keys, rows, strict=True):
        writer.write_singles((one,), MARKS[side] if one[0] else b"")


def put_together(
    writer: RunWriter, side: int, slices: Sequence[Slice], files: FileSystem, codec: ValueCodec
) -> None:
    """One part's rows out of all spills, in their order."""
    full = [each for each in slices if each.records]
    blocks: Iterator[Any] = chain.from_iterable(read_rows_of(files, each, codec) for each in full)
    writer.write_singles(((block.keys, block.values) for block in blocks), MARKS[side] if full else b"")
