"""Records as lines of CSV, as FileInput("csv") reads them again.

Pure.  A cell is quoted where it has a comma, a quote or a line end, and where it is empty and alone, which
would be a blank line.  Nothing here depends on the version of Python's csv module.

Layout: docs/formats/job.md, "Output".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from ringmill.cluster.mapreduce.files.rendering import cell_text, encoded
from ringmill.cluster.mapreduce.files.tables.row_shapes import RowShape

__all__ = ["CsvRecords"]

_SPECIAL: Final = re.compile('[,"\r\n]')


class CsvRecords:
    """Lines of records of one shape."""

    def __init__(self, shape: RowShape) -> None:
        self._shape = shape

    @property
    def header(self) -> bytes:
        """The line with the names of the columns."""
        return _line(self._shape.names)

    def packed(self, batch: Sequence[tuple[Any, Any]]) -> bytes:
        """The lines of these records.  Raises TaskFailed for one that is not as its hint says."""
        cells = self._shape.cells
        return b"".join([_line([cell_text(cell) for cell in cells(key, value)]) for key, value in batch])

    def blocks(self, columns: Iterable[tuple[Sequence[Any], Sequence[Any]]]) -> Iterator[tuple[int, bytes]]:
        """The same of records that come by columns, with how many there are."""
        for keys, values in columns:
            yield len(keys), self.packed(list(zip(keys, values, strict=True)))


def _line(cells: Sequence[str]) -> bytes:
    row = ",".join([_quoted(cell) if _SPECIAL.search(cell) else cell for cell in cells])
    return encoded(f"{row}\n" if row else '""\n')


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'
