"""The version: the files that make up the store, as a value, and the edits between two versions.  Pure.

Level 0 holds tables that may overlap, newest first; each deeper level holds tables with disjoint key
ranges in key order.  The manifest is the log of edits (docs/formats/manifest.md), and reserves the
numbers of files (rule E5).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from itertools import pairwise
from typing import Final

import msgpack

from ringmill.node.storage.table.table_format import MalformedTable, TableMeta, meta_of

__all__ = [
    "LEVELS",
    "CorruptMark",
    "Drop",
    "EditedVersion",
    "VersionEdit",
    "MalformedEdit",
    "Version",
    "decode_edit",
    "encode_edit",
    "mark_of",
    "outermost",
    "snapshot_edit",
    "without",
]

LEVELS: Final = 7
_FORMER_FIELDS: Final = 9


class MalformedEdit(ValueError):
    """Bytes that are not an edit, or an edit that does not fit the version it is applied to."""


@dataclass(frozen=True, slots=True)
class Drop:
    """All keys that begin with `prefix` and were written up to `sequence` are deleted."""

    prefix: bytes
    sequence: int


@dataclass(frozen=True, slots=True)
class CorruptMark:
    """Versions up to `sequence` of keys in [start, end) may be lost; an end of None has no bound."""

    start: bytes
    end: bytes | None
    sequence: int

    def covers(self, key: bytes) -> bool:
        return self.start <= key and (self.end is None or key < self.end)


@dataclass(frozen=True, slots=True)
class Version:
    levels: tuple[tuple[TableMeta, ...], ...] = ((),) * LEVELS
    oldest_log: int = 0  # logs with a lower file id are already in tables
    flushed_sequence: int = 0  # all batches up to this one are in tables
    reserved_ids: int = 1  # the lowest file id that was never reserved
    drops: tuple[Drop, ...] = ()
    marks: tuple[CorruptMark, ...] = ()
    salvaged: tuple[TableMeta, ...] = ()  # found without a manifest that lists them: for healing only
    newest_log: int = 0  # the newest log whose header is on the disk
    stopped_at: int | None = None  # the last batch, after a clean stop

    @property
    def deepest(self) -> int:
        """The deepest level in use; 1 where only level 0 is."""
        return max((level for level in range(1, LEVELS) if self.levels[level]), default=1)

    def tables(self) -> list[TableMeta]:
        """The tables that a read uses."""
        return [meta for level in self.levels for meta in level]

    def all_tables(self) -> list[TableMeta]:
        return [*self.tables(), *self.salvaged]

    def apply(self, edit: VersionEdit) -> Version:
        """The version after `edit`.  Raises MalformedEdit."""
        levels = [[meta for meta in level if meta.file_id not in edit.removed] for level in self.levels]
        if sum(map(len, levels)) + len(edit.removed) != len(self.tables()):
            raise MalformedEdit(f"an edit removes tables {edit.removed}, not all of which exist")
        for level, meta in edit.added:
            levels[level].append(meta)
        levels[0].sort(key=lambda meta: (meta.last_sequence, meta.file_id), reverse=True)
        for tables in levels[1:]:
            tables.sort(key=lambda meta: meta.smallest)
            if any(left.largest >= right.smallest for left, right in pairwise(tables)):
                raise MalformedEdit("an edit makes tables of one level overlap")
        return replace(
            self,
            levels=tuple(map(tuple, levels)),
            oldest_log=self.oldest_log if edit.oldest_log is None else edit.oldest_log,
            flushed_sequence=(
                self.flushed_sequence if edit.flushed_sequence is None else edit.flushed_sequence
            ),
            reserved_ids=self.reserved_ids if edit.reserved_ids is None else edit.reserved_ids,
            drops=tuple(drop for drop in self.drops if drop not in edit.drops_removed) + edit.drops_added,
            marks=_once(mark for mark in (*self.marks, *edit.marks_added) if mark not in edit.marks_removed),
            salvaged=_without_tables(self.salvaged, edit.salvaged_removed) + edit.salvaged_added,
            newest_log=self.newest_log if edit.newest_log is None else edit.newest_log,
            stopped_at=edit.stopped_at,
        )


@dataclass(frozen=True, slots=True)
class VersionEdit:
    """One atomic step of the manifest."""

    added: tuple[tuple[int, TableMeta], ...] = ()  # with their levels
    removed: tuple[int, ...] = ()  # file ids
    oldest_log: int | None = None
    flushed_sequence: int | None = None
    reserved_ids: int | None = None
    drops_added: tuple[Drop, ...] = ()
    drops_removed: tuple[Drop, ...] = ()
    marks_added: tuple[CorruptMark, ...] = ()
    marks_removed: tuple[CorruptMark, ...] = ()
    salvaged_added: tuple[TableMeta, ...] = ()
    salvaged_removed: tuple[int, ...] = ()  # file ids
    newest_log: int | None = None
    stopped_at: int | None = None  # any later edit resets it


class EditedVersion:
    """The empty version and many edits: tables are sorted and compared once, not for each edit."""

    def __init__(self) -> None:
        self._tables: dict[int, tuple[int, TableMeta]] = {}  # with their levels, by file id
        self._rest = Version()

    def add(self, edit: VersionEdit) -> None:
        """Raises MalformedEdit."""
        for file_id in edit.removed:
            if self._tables.pop(file_id, None) is None:
                raise MalformedEdit(f"an edit removes table {file_id}, which does not exist")
        for level, meta in edit.added:
            if meta.file_id in self._tables:
                raise MalformedEdit(f"an edit adds table {meta.file_id}, which exists")
            self._tables[meta.file_id] = level, meta
        self._rest = self._rest.apply(replace(edit, added=(), removed=()))

    def result(self) -> Version:
        """Raises MalformedEdit."""
        rest = self._rest
        return rest.apply(VersionEdit(added=tuple(self._tables.values()), stopped_at=rest.stopped_at))


def _once(marks: Iterable[CorruptMark]) -> tuple[CorruptMark, ...]:
    return tuple(dict.fromkeys(marks))


def _without_tables(tables: tuple[TableMeta, ...], removed: tuple[int, ...]) -> tuple[TableMeta, ...]:
    return tuple(meta for meta in tables if meta.file_id not in removed)


def mark_of(meta: TableMeta) -> CorruptMark:
    """The mark for the loss of a whole table."""
    return CorruptMark(meta.smallest, meta.largest + b"\0", meta.last_sequence)


def outermost(marks: Iterable[CorruptMark]) -> tuple[CorruptMark, ...]:
    """Marks without those that another mark covers."""
    found = _once(marks)
    return tuple(mark for mark in found if not any(_says_all(other, mark) for other in found))


def _says_all(other: CorruptMark, mark: CorruptMark) -> bool:
    reaches = other.end is None or (mark.end is not None and mark.end <= other.end)
    return other != mark and other.sequence >= mark.sequence and other.start <= mark.start and reaches


def without(mark: CorruptMark, start: bytes, end: bytes | None) -> tuple[CorruptMark, ...]:
    """A mark without [start, end): the mark itself, or up to two pieces."""
    if (end is not None and end <= mark.start) or (mark.end is not None and mark.end <= start):
        return (mark,)
    left: tuple[CorruptMark, ...] = ()
    if mark.start < start:
        left += (replace(mark, end=start),)
    if end is not None and (mark.end is None or end < mark.end):
        left += (replace(mark, start=end),)
    return left


def snapshot_edit(version: Version) -> VersionEdit:
    """The edit from an empty version to `version`: the first one of a new manifest."""
    return VersionEdit(
        added=tuple((number, meta) for number, level in enumerate(version.levels) for meta in level),
        oldest_log=version.oldest_log,
        flushed_sequence=version.flushed_sequence,
        reserved_ids=version.reserved_ids,
        drops_added=version.drops,
        marks_added=version.marks,
        salvaged_added=version.salvaged,
        newest_log=version.newest_log,
        stopped_at=version.stopped_at,
    )


def encode_edit(edit: VersionEdit) -> bytes:
    packed: bytes = msgpack.packb(astuple(edit))
    return packed


def decode_edit(data: bytes) -> VersionEdit:
    """Raises MalformedEdit.  An edit of version 1 ends before the salvaged tables."""
    try:
        fields = msgpack.unpackb(data)
        if len(fields) == _FORMER_FIELDS:
            fields += [(), (), None, None]
        added, removed, oldest_log, flushed, reserved, *rest = fields
        drops_added, drops_removed, marks_added, marks_removed, *rest = rest
        salvaged_added, salvaged_removed, newest_log, stopped_at = rest
        return VersionEdit(
            added=tuple((_level(level), meta_of(meta)) for level, meta in added),
            removed=tuple(_number(file_id) for file_id in removed),
            oldest_log=_number_or_none(oldest_log),
            flushed_sequence=_number_or_none(flushed),
            reserved_ids=_number_or_none(reserved),
            drops_added=tuple(Drop(_key(prefix), _number(at)) for prefix, at in drops_added),
            drops_removed=tuple(Drop(_key(prefix), _number(at)) for prefix, at in drops_removed),
            marks_added=tuple(_mark(fields) for fields in marks_added),
            marks_removed=tuple(_mark(fields) for fields in marks_removed),
            salvaged_added=tuple(meta_of(meta) for meta in salvaged_added),
            salvaged_removed=tuple(_number(file_id) for file_id in salvaged_removed),
            newest_log=_number_or_none(newest_log),
            stopped_at=_number_or_none(stopped_at),
        )
    except (ValueError, TypeError, MalformedTable) as error:
        raise MalformedEdit(str(error)) from None


def _mark(fields: list[object]) -> CorruptMark:
    start, end, sequence = fields
    return CorruptMark(_key(start), None if end is None else _key(end), _number(sequence))


def _level(value: object) -> int:
    level = _number(value)
    if level >= LEVELS:
        raise MalformedEdit(f"level {level} of {LEVELS}")
    return level


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise MalformedEdit(f"{value!r} where a number belongs")
    return value


def _number_or_none(value: object) -> int | None:
    return None if value is None else _number(value)


def _key(value: object) -> bytes:
    if type(value) is not bytes:
        raise MalformedEdit(f"{value!r} where a key belongs")
    return value
