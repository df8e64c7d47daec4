"""Rows of CSV with their lines, in blocks: as lists, or as dicts by the names of a header.

Pure.  A row that spans lines has the number of its first one.  Rows are taken from the csv module many at a
time, and their lines are counted afterwards, as asking for the line of each would cost as much as the row.

See: docs/formats/job.md, "Records".
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, islice, repeat
from typing import Any, Final, TypeAlias

from ringmill.cluster.mapreduce.failures import Cause, TaskFailed

__all__ = ["csv_blocks"]

Row: TypeAlias = list[str]
Refuse: TypeAlias = Callable[[Any, Any, ValueError], None]  # line, row and why

BLOCK_ROWS: Final = 1024


def csv_blocks(
    lines: Iterable[str], path: str, refuse: Refuse, *, has_header: bool
) -> Iterator[list[tuple[int, Any]]]:
    """(line, row) of the rows of a file, by the names of its first row if that is a header.

    A row with more or fewer fields than the header goes to `refuse`; blank lines are left out.  Raises
    TaskFailed for what is not CSV, naming `path` and the line, and what `refuse` raises.
    """
    rows = csv.reader(lines, strict=True)
    header: Row | None = None
    line, taken = 0, list[Row]()
    try:
        if has_header:
            header = next(rows, [])
            line = rows.line_num
        while True:
            taken = []
            taken.extend(islice(rows, BLOCK_ROWS))  # keeps the rows that come before an error
            if not taken:
                return
            if block := list(_numbered(taken, line, rows.line_num, header, refuse)):
                yield block
            line = rows.line_num
    except csv.Error as error:
        at = line + sum(map(_lines_of, taken))
        for _ in _numbered(taken, line, at, header, refuse):  # refuses what comes before
            pass
        raise TaskFailed(Cause.USER_ERROR, f"not CSV: {error}", (), f"{path} line {at + 1}") from error


def _numbered(
    rows: Sequence[Row], before: int, last: int, header: Row | None, refuse: Refuse
) -> Iterable[tuple[int, Any]]:
    """The rows between the lines `before` and `last`, each with its first line."""
    starts: Iterable[int] = range(before + 1, last + 1)
    if last - before != len(rows):  # some rows span lines
        starts = accumulate(map(_lines_of, rows), initial=before + 1)
    numbered = zip(starts, rows, strict=False)
    if header is None:
        return numbered if all(rows) else filter(_has_fields, numbered)
    if header and {len(header)}.issuperset(map(len, rows)):
        return zip(starts, map(dict, map(zip, repeat(header), rows)), strict=False)
    return _named(numbered, header, refuse)


def _named(numbered: Iterable[tuple[int, Row]], header: Row, refuse: Refuse) -> Iterator[tuple[int, Any]]:
    for line, row in numbered:
        if row and len(row) == len(header):
            yield line, dict(zip(header, row, strict=True))
        elif row:
            message = f"not CSV: {len(row)} fields where the header has {len(header)}"
            refuse(line, row, ValueError(message))


def _has_fields(numbered: tuple[int, Row]) -> bool:
    return bool(numbered[1])


def _lines_of(row: Row) -> int:
    """Line feeds stand in the fields of a row as they are in the file."""
    return 1 + sum(field.count("\n") for field in row)
