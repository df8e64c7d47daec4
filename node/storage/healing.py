"""Ranges whose newest values may be lost: how they become known, and how they become readable again.

The engine fences what it may have lost (a CorruptMark) and serves all else.  Somebody above it, who knows
other copies, merges them in and says piece by piece what is healed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from node.storage.block_cache import BlockCache
from node.storage.errors import CorruptBlock
from node.storage.handover import Handover
from node.storage.judgement import judge
from node.storage.lookup import find_survivor
from node.storage.memtable import Memtable
from node.storage.scan import Range, scan_chunks
from node.storage.snapshots import Snapshots
from node.storage.table_set import TableSet
from node.storage.version import CorruptMark, Drop, Edit, without

__all__ = ["Healing", "survivor_of", "survivors_in"]

Report = Callable[[CorruptBlock], None]
Found = tuple[int, bytes | None]


class Healing:
    """The marks of one engine.  `found` is set when one is added, and when the folder had some already."""

    def __init__(self, tables: TableSet, handover: Handover) -> None:
        self._tables = tables
        self._handover = handover
        self._known: set[CorruptMark] = set()
        self._pieces: dict[CorruptMark, tuple[CorruptMark, ...]] = {}
        self._one_at_a_time = asyncio.Lock()
        self.found = asyncio.Event()

    def look(self) -> None:
        """The version may have changed: is there a mark that was not there before?"""
        marks = set(self._tables.version.marks)
        if not marks <= self._known:
            self.found.set()
        self._known = marks

    async def heal(self, mark: CorruptMark, start: bytes, end: bytes | None) -> None:
        """Take [start, end) out of a mark and of what former calls have left of it, durably."""
        async with self._one_at_a_time:
            in_force = self._tables.version.marks
            former = tuple(piece for piece in self._pieces.get(mark, (mark,)) if piece in in_force)
            left = tuple(piece for whole in former for piece in without(whole, start, end))
            self._known.update(left)
            removed = tuple(piece for piece in former if piece not in left)
            added = tuple(piece for piece in left if piece not in former)
            await self._handover.commit(Edit(marks_removed=removed, marks_added=added))
            if left:
                self._pieces[mark] = left
            else:
                self._pieces.pop(mark, None)


async def survivor_of(
    key: bytes,
    in_memory: Found | None,
    tables: TableSet,
    cache: BlockCache,
    sequence: int,
    drops: Sequence[Drop],
    report: Report,
) -> bytes | None:
    """The newest version of a key that can be read, whatever is marked or damaged.  Raises OSError."""
    entry = in_memory
    if entry is None:
        with tables.pin() as view:
            entry = await find_survivor(view, cache, key, sequence, report)
    return judge(key, entry, sequence, (), drops)


async def survivors_in(
    memtables: Sequence[Memtable], tables: TableSet, snapshots: Snapshots, span: Range
) -> AsyncGenerator[tuple[bytes, bytes], None]:
    """The same for a range, in key order."""
    assert span.on_damage is not None, "damage would end the scan"
    with snapshots.take(span.sequence), tables.pin() as view:
        chunks = scan_chunks(memtables, view, span)
        async with aclosing(chunks):
            async for keys, values in chunks:
                for key, value in zip(keys, values, strict=True):
                    if value is not None:
                        yield key, value
