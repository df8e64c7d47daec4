"""Opens a folder whose manifest cannot be read: keeps all tables and fences every key.

Only the manifest knows which tables are in force, in what order, and which batches are in them.  So the
tables that are found are set apart: reads never use them, and healing gets their newest readable value
(node/storage/recovery/salvaged_tables.py).  They may hold deleted or replaced values, so all keys are marked
up to a sequence above any that was ever given out, and no reader sees such a value (rule E7).

The idea is LevelDB's RepairDB, which may return the wrong value of some keys; the mark prevents that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.names import FileName
from ringmill.node.storage.recovery.log_recovery import LEAP, Recovered
from ringmill.node.storage.storage_errors import CorruptBlock, NewerFormat, UnreadableBlock
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.table.table_reader import Table, open_table
from ringmill.node.storage.version.manifest import readable_edits
from ringmill.node.storage.version.version import CorruptMark, Drop, Version, VersionEdit

__all__ = ["FRESH_IDS", "Salvage", "fence_all", "salvage"]

FRESH_IDS: Final = 1 << 20
"""So far above all known numbers of files go on those of a folder whose manifest is lost: nobody knows which
were reserved, and a child that was left behind may still write to one."""


@dataclass(slots=True)
class Salvage:
    """What can still be read from the manifests and tables of a folder."""

    tables: dict[int, Table] = field(default_factory=dict)
    unreadable: list[int] = field(default_factory=list)  # file ids of tables
    drops: dict[Drop, None] = field(default_factory=dict)
    highest_sequence: int = 0
    flushed_sequence: int = 0  # by the edits alone: a table that was added beside the logs proves nothing
    reserved_ids: int = 1

    def version(self) -> Version:
        """The version without a mark, whose sequence depends on the logs."""
        return Version(
            flushed_sequence=self.flushed_sequence,
            reserved_ids=self.reserved_ids + FRESH_IDS,
            drops=tuple(self.drops),
            salvaged=tuple(table.meta for table in self.tables.values()),
        )

    def close(self) -> None:
        for table in self.tables.values():
            table.close()


def salvage(files: FileSystem, folder: str, found: Iterable[FileName], *, is_patient: bool) -> Salvage:
    """Read all that can be read of manifests and tables.  Blocks.

    Raises NewerFormat, OSError; UnreadableBlock while it `is_patient`.
    """
    result = Salvage()
    known: dict[int, TableMeta] = {}
    names = sorted(found, key=lambda name: name.file_id)
    for name in names:
        result.reserved_ids = max(result.reserved_ids, name.file_id + 1)
        if name.kind == "manifest":
            edits = readable_edits(files, folder, name.file_id, reads_around=not is_patient)
            _note_edits(edits, result, known)
    for name in names:
        if name.kind == "table":
            _open(files, folder, name.file_id, result, known, is_patient=is_patient)
    return result


def fence_all(recovered: Recovered, highest_sequence: int) -> CorruptMark:
    """Mark all keys; new batches get sequences above the mark."""
    recovered.last_sequence = max(recovered.last_sequence, highest_sequence) + LEAP
    return CorruptMark(b"", None, recovered.last_sequence)


def _note_edits(edits: Iterable[VersionEdit], result: Salvage, known: dict[int, TableMeta]) -> None:
    for edit in edits:
        metas = [*(meta for _, meta in edit.added), *edit.salvaged_added]
        known.update((meta.file_id, meta) for meta in metas)
        result.drops.update(dict.fromkeys(edit.drops_added))
        for drop in edit.drops_removed:
            result.drops.pop(drop, None)
        result.reserved_ids = max(result.reserved_ids, edit.reserved_ids or 0)
        result.flushed_sequence = max(result.flushed_sequence, edit.flushed_sequence or 0)
        _note(result, edit.flushed_sequence or 0, edit.stopped_at or 0)
        _note(result, *(meta.last_sequence for meta in metas))
        _note(result, *(drop.sequence for drop in edit.drops_added))
        _note(result, *(mark.sequence for mark in edit.marks_added))


def _open(
    files: FileSystem,
    folder: str,
    file_id: int,
    result: Salvage,
    known: Mapping[int, TableMeta],
    *,
    is_patient: bool,
) -> None:
    """Open a table; one whose index or footer cannot be read is left to the quarantine."""
    try:
        table = open_table(files, folder, file_id, known.get(file_id))
    except (CorruptBlock, NewerFormat) as error:
        if isinstance(error, NewerFormat) or (is_patient and isinstance(error, UnreadableBlock)):
            result.close()
            raise
        result.unreadable.append(file_id)
        return
    result.tables[file_id] = table
    _note(result, table.meta.last_sequence)


def _note(result: Salvage, *sequences: int) -> None:
    result.highest_sequence = max(result.highest_sequence, *sequences, 0)
