"""Reads salvaged tables: finds the newest version of a key in any of them.

The levels of salvaged tables are unknown, so only the sequences of versions show which is newer.  A cell
without a sequence (0) was written by a compaction that read all versions of its keys, so it counts as the
newest of its table: all that the compaction read is older, and every later table has higher sequences
(docs/formats/table.md).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from heapq import heapify, heappop, heapreplace

from ringmill.node.storage.storage_errors import CorruptBlock
from ringmill.node.storage.table.table_reader import Table
from ringmill.node.storage.version.version import Drop

__all__ = ["find_salvaged", "salvaged_pairs"]

Report = Callable[[CorruptBlock], None]
Rank = tuple[int, bool, int]  # sequence, is it a settled cell, file id: the highest is the newest
SalvagedEntry = tuple[bytes, Rank, bytes | None]


async def find_salvaged(
    tables: Sequence[Table], key: bytes, drops: Sequence[Drop], report: Report
) -> bytes | None:
    """The newest value of a key among these tables, None when it is deleted or in none.  Raises OSError."""
    async for found, value in salvaged_pairs(tables, key, key + b"\0", drops, report):
        assert found == key
        return value
    return None


async def salvaged_pairs(
    tables: Sequence[Table], start: bytes, end: bytes | None, drops: Sequence[Drop], report: Report
) -> AsyncGenerator[tuple[bytes, bytes], None]:
    """The newest value of each key in [start, end) that is not deleted, in key order; damage is passed over.

    Raises OSError.
    """
    runs = [_entries(table, start, end, report) for table in tables if _meets(table, start, end)]
    heads: list[tuple[bytes, int, SalvagedEntry]] = []
    for number, run in enumerate(runs):
        entry = await anext(run, None)
        if entry is not None:
            heads.append((entry[0], number, entry))
    heapify(heads)
    while heads:
        key, newest = heads[0][0], heads[0][2]
        while heads and heads[0][0] == key:
            _, number, entry = heads[0]
            newest = max(newest, entry, key=lambda entry: entry[1])
            following = await anext(runs[number], None)
            if following is None:
                heappop(heads)
            else:
                heapreplace(heads, (following[0], number, following))
        _, (sequence, *_), value = newest
        is_dropped = any(sequence <= drop.sequence and key.startswith(drop.prefix) for drop in drops)
        if value is not None and not is_dropped:
            yield key, value


async def _entries(
    table: Table, start: bytes, end: bytes | None, report: Report
) -> AsyncGenerator[SalvagedEntry, None]:
    """Every version in [start, end) of one table, in key order."""
    for number in range(table.block_of(start), len(table.handles)):
        if end is not None and table.bounds(number)[0] >= end:
            return
        try:
            block = await table.read_block_off_loop(number)
        except CorruptBlock as error:
            report(error)
            continue
        for key, head, value in zip(block.keys, block.heads(), block.values(), strict=True):
            if start <= key and (end is None or key < end):
                yield key, _rank(head, table), value if head & 1 else None


def _rank(head: int, table: Table) -> Rank:
    sequence = head >> 8
    return sequence or table.meta.last_sequence, not sequence, table.file_id


def _meets(table: Table, start: bytes, end: bytes | None) -> bool:
    return table.largest >= start and (end is None or table.smallest < end)
