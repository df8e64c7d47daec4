"""Judges blocks that the disk cannot read: whether the bytes are lost, or the error passes.

The errors of a whole disk, of its cable or of a network in between come and go.  What is fenced for them is
out of reach until other owners heal it, and stays so where there is none.  So a block counts as lost only
when nothing else explains it.

Rule E10: docs/protocol/engine.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.names import temporary_name
from ringmill.node.storage.storage_errors import CorruptBlock, UnreadableBlock
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.table.table_reader import open_table
from ringmill.node.storage.table.table_writer import discard_tables

__all__ = ["Place", "Unreadable"]

Place: TypeAlias = tuple[int, int]
"""File id and offset of a block, or of the part by which a table is opened."""


class Unreadable:
    """The blocks that one job could not read.  `suspects` could not be read by an earlier one, either."""

    def __init__(self, suspects: frozenset[Place]) -> None:
        self._suspects = suspects
        self._lost: list[tuple[TableMeta, int]] = []
        self.unjudged: list[Place] = []
        """Those of which this job may not say that they are lost; the next one may."""

    def note(self, meta: TableMeta, error: Exception) -> None:
        """A block of the table cannot be used; it counts here if it could not be read."""
        if not isinstance(error, UnreadableBlock):
            return
        if (meta.file_id, error.offset) in self._suspects:
            self._lost.append((meta, error.offset))
        else:
            self.unjudged.append((meta.file_id, error.offset))

    def look_again(self, files: FileSystem, folder: str, file_ids: Iterator[int] | None) -> None:
        """Read once more what is lost, now that something was synced on this disk.

        Nothing was yet where there are `file_ids`: then a file is.  Raises OSError.
        """
        if not self._lost or self.unjudged:
            return
        if file_ids is not None:
            _sync_something(files, folder, next(file_ids))
        self.unjudged = [
            (meta.file_id, offset) for meta, offset in self._lost if _can_be_read(files, folder, meta, offset)
        ]


def _sync_something(files: FileSystem, folder: str, file_id: int) -> None:
    file = files.create(f"{folder}/{temporary_name(file_id)}")
    try:
        file.append(b"the disk can be written")
        file.sync()
    finally:
        file.close()
        discard_tables(files, folder, [file_id])


def _can_be_read(files: FileSystem, folder: str, meta: TableMeta, offset: int) -> bool:
    try:
        table = open_table(files, folder, meta.file_id, meta)
    except (CorruptBlock, FileNotFoundError) as error:
        return not isinstance(error, UnreadableBlock)
    try:
        for number, handle in enumerate(table.handles):
            if handle.offset == offset:
                table.read_block(number)
    except CorruptBlock as error:
        return not isinstance(error, UnreadableBlock)
    finally:
        table.close()
    return True
