"""Which tables of a version meet a range of keys or a dropped prefix.  Pure.

A large node has tens of thousands of tables and asks on its event loop, so in the levels below 0, which are
disjoint and in key order, they are found by bisection.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final

from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.version.version import Drop, Version

__all__ = [
    "LARGEST",
    "SMALLEST",
    "around",
    "drops_within",
    "holders",
    "holders_in",
    "may_hold",
    "outer_range",
    "overlapping",
]

SMALLEST: Final = attrgetter("smallest")
LARGEST: Final = attrgetter("largest")


def overlapping(level: Sequence[TableMeta], low: bytes, high: bytes) -> tuple[TableMeta, ...]:
    """The tables that overlap [low, high], of a level other than 0."""
    first = bisect_left(level, low, key=LARGEST)
    return tuple(level[first : bisect_right(level, high, lo=first, key=SMALLEST)])


def around(level: Sequence[TableMeta], prefix: bytes) -> Sequence[TableMeta]:
    """The tables of a level other than 0 whose ranges may have a key with this prefix."""
    size = len(prefix)
    first = bisect_left(level, prefix, key=lambda meta: meta.largest[:size])
    return level[first : bisect_right(level, prefix, lo=first, key=lambda meta: meta.smallest[:size])]


def outer_range(tables: Sequence[TableMeta]) -> tuple[bytes, bytes]:
    """The least and the greatest key of some tables."""
    return min(meta.smallest for meta in tables), max(meta.largest for meta in tables)


def may_hold(meta: TableMeta, drop: Drop) -> bool:
    """Whether the table can hold keys that the drop deletes."""
    size = len(drop.prefix)
    return meta.first_sequence <= drop.sequence and meta.smallest[:size] <= drop.prefix <= meta.largest[:size]


def holders(version: Version, drop: Drop) -> Iterator[tuple[int, TableMeta]]:
    """The tables that can hold keys that the drop deletes, with their levels."""
    for level, tables in enumerate(version.levels):
        found = holders_in(tables, drop) if level else [meta for meta in tables if may_hold(meta, drop)]
        for meta in found:
            yield level, meta


def holders_in(level: Sequence[TableMeta], drop: Drop) -> list[TableMeta]:
    """Those of a level other than 0."""
    return [meta for meta in around(level, drop.prefix) if may_hold(meta, drop)]


def drops_within(version: Version, low: bytes, high: bytes) -> tuple[Drop, ...]:
    """The drops that may cover a key in [low, high], whatever their sequences."""
    return tuple(
        drop for drop in version.drops if low[: len(drop.prefix)] <= drop.prefix <= high[: len(drop.prefix)]
    )
