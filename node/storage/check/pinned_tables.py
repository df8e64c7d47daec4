"""The tables that hold what the store held at one moment, kept while somebody copies them, and read from
copies.

The files are those of the engine, byte for byte; a table never changes.  A copy is described by a manifest's
first edit (docs/formats/manifest.md) and the number of the last batch that counts: tables may hold newer
versions as well, which a reader leaves out.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.read.scan import Range, scan_chunks
from ringmill.node.storage.storage_errors import CorruptBlock
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.table.table_reader import open_table
from ringmill.node.storage.version.snapshots import Snapshot
from ringmill.node.storage.version.version import (
    MalformedEdit,
    Version,
    VersionEdit,
    decode_edit,
    encode_edit,
)
from ringmill.node.storage.version.version_set import View

__all__ = ["CopiedTables", "PinnedTables", "opened_copies"]


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
    """Copies of pinned tables, open for reading."""

    def __init__(self, view: View, sequence: int) -> None:
        self._view = view
        self._sequence = sequence

    async def scan(self, start: bytes, end: bytes) -> AsyncGenerator[list[tuple[bytes, bytes]], None]:
        """Keys and values in [start, end), in order, as they were at the moment of the pin.

        Raises CorruptBlock, OSError.
        """
        span = Range(start, end, self._sequence, reverse=False, drops=self._view.version.drops)
        async for keys, values in scan_chunks((), self._view, span):
            found = [(key, value) for key, value in zip(keys, values, strict=True) if value is not None]
            if found:
                yield found


@contextmanager
def opened_copies(files: FileSystem, folder: str, edit: bytes, sequence: int) -> Iterator[CopiedTables]:
    """Copies that lie in `folder` under the names that they had in the engine's folder.  Blocks.

    Raises CorruptBlock for a copy that is damaged, or an edit that is none; OSError.
    """
    try:
        version = Version().apply(replace(decode_edit(edit), marks_added=(), salvaged_added=()))
    except MalformedEdit as error:
        raise CorruptBlock(folder, 0, f"what describes its tables does not decode: {error}") from None
    with ExitStack() as opened:
        tables = {}
        for meta in version.tables():
            tables[meta.file_id] = table = open_table(files, folder, meta.file_id, meta)
            opened.callback(table.close)
        yield CopiedTables(View(version, tables), sequence)
