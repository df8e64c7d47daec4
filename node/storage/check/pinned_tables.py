"""The tables that hold what the store held at one moment, kept while somebody copies them, and read from
copies.

The files are those of the engine, byte for byte; a table never changes.  A copy is described by a manifest's
first edit (docs/formats/manifest.md) and the number of the last batch that counts: tables may hold newer
versions as well, which a reader leaves out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, aclosing, closing, contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Final

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.read.scan import Range, scan_chunks
from ringmill.node.storage.storage_errors import CorruptBlock
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.table.table_reader import Table, open_table
from ringmill.node.storage.version.snapshots import Snapshot
from ringmill.node.storage.version.table_ranges import overlapping
from ringmill.node.storage.version.version import (
    MalformedEdit,
    Version,
    VersionEdit,
    decode_edit,
    encode_edit,
)
from ringmill.node.storage.version.version_set import View

__all__ = ["CopiedTables", "PinnedTables", "opened_copies"]

_AT_ONCE: Final = 64
"""Tables of the levels below 0 that a stretch of a scan meets, and that stay open after it."""


class PinnedTables:
    """What the store held in a snapshot, in [start, end).  `release` it."""

    def __init__(self, view: View, pins: ExitStack, snapshot: Snapshot, start: bytes, end: bytes) -> None:
        self.sequence = snapshot.sequence
        self._healed_since = snapshot.healed_since  # by batches that do not count here (rule H5)
        self._view = view
        self._pins = pins
        self._levels = tuple(
            tuple(meta for meta in level if meta.largest >= start and meta.smallest < end)
            for level in view.version.levels
        )

    @property
    def tables(self) -> list[TableMeta]:
        return [meta for level in self._levels for meta in level]

    @property
    def edit(self) -> bytes:
        """Describes copies of the tables, for `opened_copies`."""
        version = self._view.version
        added = tuple((number, meta) for number, level in enumerate(self._levels) for meta in level)
        return encode_edit(VersionEdit(added=added, drops_added=version.drops))

    def may_lack(self, start: bytes, end: bytes) -> bool:
        """Whether something of the keys in [start, end) may be lost."""
        marks = (*self._view.version.marks, *self._healed_since)
        return any(mark.start < end and (mark.end is None or start < mark.end) for mark in marks)

    async def read(self, file_id: int, size: int, offset: int) -> bytes:
        """A piece of a table's file, shorter at its end.  Raises KeyError for another table, OSError."""
        return await self._view.tables[file_id].file.pread_off_loop(size, offset)

    def release(self) -> None:
        """The engine may delete what it has replaced.  Releasing twice is fine."""
        self._pins.close()


class CopiedTables:
    """Copies of pinned tables.

    A store may have more of them than a process may open, and than there is memory for their indexes, so
    those are open that a scan has reached, and the ones that were used last.
    """

    def __init__(self, files: FileSystem, folder: str, version: Version, sequence: int) -> None:
        self._files = files
        self._folder = folder
        self._version = version
        self._sequence = sequence
        self._open: dict[int, Table] = {}  # by file id; what was used last is at the end
        self._in_use: Counter[int] = Counter()

    async def scan(self, start: bytes, end: bytes) -> AsyncGenerator[list[tuple[bytes, bytes]], None]:
        """Keys and values in [start, end), in order, as they were at the moment of the pin.

        Raises CorruptBlock for a copy that is damaged, OSError.
        """
        for low, high in pairwise([start, *self._stretches(start, end), end]):
            span = Range(low, high, self._sequence, reverse=False, drops=self._version.drops)
            with self._opened(low, high) as view:
                async with aclosing(scan_chunks((), view, span)) as chunks:
                    async for keys, values in chunks:
                        found = [(k, v) for k, v in zip(keys, values, strict=True) if v is not None]
                        if found:
                            yield found

    def close(self) -> None:
        for table in self._open.values():
            table.close()

    def _stretches(self, start: bytes, end: bytes) -> list[bytes]:
        """Where to cut [start, end), so that each piece meets few tables of the levels below 0."""
        within = (overlapping(level, start, end) for level in self._version.levels[1:])
        begins = sorted(meta.smallest for level in within for meta in level if start < meta.smallest < end)
        return begins[_AT_ONCE::_AT_ONCE]

    @contextmanager
    def _opened(self, low: bytes, high: bytes) -> Iterator[View]:
        newest, *levels = self._version.levels
        within = [
            tuple(meta for meta in newest if meta.overlaps(low, high)),
            *(overlapping(level, low, high) for level in levels),
        ]
        version, tables = replace(self._version, levels=tuple(within)), dict[int, Table]()
        try:
            for meta in version.tables():
                tables[meta.file_id] = self._take(meta)
            yield View(version, tables)
        finally:
            self._in_use.subtract([*tables])
            self._let_go()

    def _take(self, meta: TableMeta) -> Table:
        table = self._open.pop(meta.file_id, None)
        if table is None:
            table = open_table(self._files, self._folder, meta.file_id, meta)
        self._open[meta.file_id] = table
        self._in_use[meta.file_id] += 1
        return table

    def _let_go(self) -> None:
        """Close what nobody uses, and has not for longest, while there is more than is kept."""
        unused = [file_id for file_id in self._open if not self._in_use[file_id]]
        for file_id in unused[: max(0, len(self._open) - _AT_ONCE)]:
            self._open.pop(file_id).close()


@contextmanager
def opened_copies(files: FileSystem, folder: str, edit: bytes, sequence: int) -> Iterator[CopiedTables]:
    """Copies that lie in `folder` under the names that they had in the engine's folder.  Blocks.

    Raises CorruptBlock for an edit that is none.
    """
    try:
        version = Version().apply(replace(decode_edit(edit), marks_added=(), salvaged_added=()))
    except MalformedEdit as error:
        raise CorruptBlock(folder, 0, f"what describes its tables does not decode: {error}") from None
    with closing(CopiedTables(files, folder, version, sequence)) as copies:
        yield copies
