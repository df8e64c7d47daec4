"""Rows of CSV with their lines, in blocks: as lists, or as dicts by the names of a header.

Pure.  A row that spans lines has the number of its first one.  Rows are taken from the csv module many at a
time, and their lines are counted afterwards, as asking for the line of each would cost as much as the row.

See: docs/formats/job.md, "Records".
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, islice, repeat
from typing import Any, Final, TypeAlias

from ringmill.cluster.mapreduce.failures import Cause, TaskFailed

__all__ = ["csv_blocks"]

Row: TypeAlias = list[str]
Refuse: TypeAlias = Callable[[Any, Any, ValueError], None]  # line, row and why

BLOCK_ROWS: Final = 1024
FIELD_CHARS: Final = 64 << 20  # a quote that nothing ends may be followed by any amount of text


def csv_blocks(
    lines: Iterable[str], path: str, refuse: Refuse, *, has_header: bool, holds_lines: bool
) -> Iterator[list[tuple[int, Any]]]:
    """(line, row) of the rows of a file, by the names of its first row if that is a header.  Blank lines may
    stand before it.

    A row with more or fewer fields than the header goes to `refuse`, and so does what is no row, by its lines
    if it `holds_lines`; the next row begins with the line behind them.  Blank lines are left out.

    Raises what `refuse` raises, and TaskFailed for a header that is no row, naming `path`.
    """
    csv.field_size_limit(FIELD_CHARS)  # of the process
    held: list[str] = []  # since the last block
    rows = csv.reader(_noted(lines, held) if holds_lines else lines, strict=True)
    header, line = None, 0
    if has_header:
        header, line = _header_of(rows, path), rows.line_num
        _refuse_twins(header, f"{path} line {line}")
        held.clear()
    while True:
        taken, wrong = _rows_of(rows)
        if wrong is None and not taken:
            return
        last = rows.line_num if wrong is None else line + sum(map(_lines_of, taken))
        if block := list(_numbered(taken, line, last, header, refuse)):
            yield block
        if wrong is not None:
            refuse(last + 1, "".join(held[last - line :]), ValueError(f"not CSV: {wrong}"))
        line = rows.line_num
        held.clear()


def _header_of(rows: Iterator[Row], path: str) -> Row:
    blank_lines = 0
    try:
        while (row := next(rows, None)) == []:
            blank_lines += 1
    except csv.Error as error:
        raise TaskFailed(
            Cause.USER_ERROR, f"not CSV: {error}", (), f"{path} line {blank_lines + 1}"
        ) from error
    return row or []


def _refuse_twins(header: Row, position: str) -> None:
    """Of two columns with one name a row by names would have the last one alone."""
    twins = sorted(name for name, count in Counter(header).items() if name and count > 1)
    if twins:
        message = f"the header has more than one column {twins[0]!r:.100}; take rows as list[str]"
        raise TaskFailed(Cause.USER_ERROR, message, (), position)


def _rows_of(rows: Iterator[Row]) -> tuple[list[Row], csv.Error | None]:
    """The next rows, and what was wrong with the one behind them."""
    taken: list[Row] = []
    try:
        taken.extend(islice(rows, BLOCK_ROWS))  # keeps the rows that come before an error
    except csv.Error as error:
        return taken, error
    return taken, None


def _noted(lines: Iterable[str], held: list[str]) -> Iterator[str]:
    for line in lines:
        held.append(line)
        yield line


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
