"""Decides what a read may return where keys were dropped or may be lost (rule H5).  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from ringmill.node.storage.memtable import VersionedValue
from ringmill.node.storage.read.drop_index import DropIndex
from ringmill.node.storage.storage_errors import CorruptRange
from ringmill.node.storage.version.version import CorruptMark

__all__ = ["check_span", "judge_entry"]


def judge_entry(
    key: bytes,
    entry: VersionedValue | None,
    sequence: int,
    marks: Iterable[CorruptMark],
    drops: DropIndex,
) -> bytes | None:
    """The value of a key whose newest version at or below `sequence` is `entry`.

    Raises CorruptRange when a newer version may be lost.
    """
    found_at, value = entry or (0, None)
    for mark in marks:
        if found_at <= mark.sequence and mark.covers(key):
            _refuse(mark)
    return None if drops and drops.hides(key, found_at, sequence) else value


def check_span(low: bytes, high: bytes | None, marks: Iterable[CorruptMark]) -> None:
    """Raises CorruptRange when keys from `low` to before `high` (None has no bound) may be lost."""
    for mark in marks:
        if (high is None or mark.start < high) and (mark.end is None or low < mark.end):
            _refuse(mark)


def _refuse(mark: CorruptMark) -> NoReturn:
    raise CorruptRange(
        f"versions up to {mark.sequence} of keys from {mark.start!r} to {mark.end!r} may be lost",
        detail={"start": mark.start, "end": mark.end, "sequence": mark.sequence},
        hint="it is healed from the other owners while the node serves",
    )
