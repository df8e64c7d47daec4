"""Key ranges whose newest values may be lost: finds them, and makes them readable again after healing.

The engine fences each range that it may have lost (a CorruptMark) and serves all others.  Its caller knows
other copies, merges them in and reports piece by piece what is healed.  Values that survive only in salvaged
tables (node/storage/recovery/salvage.py) are written again before their range becomes readable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from ringmill.node.storage.batch import Batch
from ringmill.node.storage.log.commit_handle import Commit
from ringmill.node.storage.memtable import Memtable, VersionedValue
from ringmill.node.storage.read.drop_index import DropIndex
from ringmill.node.storage.read.judgement import judge_entry
from ringmill.node.storage.read.lookup import find_survivor
from ringmill.node.storage.read.scan import Range, scan_chunks
from ringmill.node.storage.recovery.salvaged_tables import find_salvaged, salvaged_pairs
from ringmill.node.storage.storage_errors import CorruptBlock
from ringmill.node.storage.table.block_cache import BlockCache
from ringmill.node.storage.version.snapshots import Snapshots
from ringmill.node.storage.version.table_installer import TableInstaller
from ringmill.node.storage.version.version import CorruptMark, Drop, VersionEdit, without
from ringmill.node.storage.version.version_set import VersionSet

__all__ = ["DamageMarks", "EngineView"]

Pair = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineView:
    """The parts of the engine that healing reads and writes."""

    tables: VersionSet
    cache: BlockCache
    snapshots: Snapshots
    memtables: Callable[[], Sequence[Memtable]]  # newest first
    drops: Callable[[], Sequence[Drop]]
    sequence: Callable[[], int]
    report: Callable[[CorruptBlock], None]
    apply: Callable[[Batch], Commit]
    wait_writable: Callable[[], Awaitable[None]]


class DamageMarks:
    """The marks of one engine.  `found` is set when one is added, and when the folder had some already."""

    def __init__(self, sight: EngineView, installer: TableInstaller) -> None:
        self._sight = sight
        self._tables = sight.tables
        self._installer = installer
        self._known: set[CorruptMark] = set()
        self._remaining: set[CorruptMark] = set()  # of marks that are being lifted: no news
        self._pieces: dict[CorruptMark, tuple[CorruptMark, ...]] = {}
        self._one_at_a_time = asyncio.Lock()
        self.found = asyncio.Event()

    def refresh(self) -> None:
        """Look for new marks; call it when the version may have changed."""
        marks = set(self._tables.version.marks)
        if not marks <= self._known | self._remaining:
            self.found.set()
        self._known = marks

    async def fence(self, start: bytes, end: bytes, sequence: int) -> None:
        """Mark a range as if all its versions up to a durable sequence were lost, durably."""
        async with self._one_at_a_time:
            await self._installer.commit(VersionEdit(marks_added=(CorruptMark(start, end, sequence),)))

    async def heal(self, mark: CorruptMark, start: bytes, end: bytes | None) -> None:
        """Remove [start, end) from a mark, or from the rest that earlier calls left of it, durably."""
        async with self._one_at_a_time:
            in_force = self._tables.version.marks
            former = tuple(piece for piece in self._pieces.get(mark, (mark,)) if piece in in_force)
            for piece in former:
                await self._restore(piece, start, end)
            left = tuple(piece for whole in former for piece in without(whole, start, end))
            self._remaining.update(left)
            removed = tuple(piece for piece in former if piece not in left)
            added = tuple(piece for piece in left if piece not in former)
            edit = VersionEdit(marks_removed=removed, marks_added=added)
            self._sight.snapshots.note_healed(removed, self._sight.sequence())
            try:
                await self._installer.commit(
                    VersionEdit(
                        marks_removed=removed, marks_added=added, salvaged_removed=self._finished(edit)
                    )
                )
                self._known.update(left)
            finally:
                self._remaining.clear()
            if left:
                self._pieces[mark] = left
            else:
                self._pieces.pop(mark, None)

    async def survivor(self, key: bytes) -> bytes | None:
        """The newest readable value of a key; ignores marks and skips damaged blocks.  Raises OSError."""
        sight, sequence, drops = self._sight, self._sight.sequence(), tuple(self._sight.drops())
        entry = await self._newest(key)
        if entry is not None:
            return judge_entry(key, entry, sequence, (), DropIndex(drops))
        with self._tables.pin() as view:
            return await find_salvaged(view.salvaged, key, drops, sight.report)

    async def survivors(self, start: bytes, end: bytes | None) -> AsyncGenerator[Pair, None]:
        """The newest readable pairs of [start, end), in key order; ignores marks, skips damaged blocks."""
        sight = self._sight
        drops, sequence = tuple(sight.drops()), sight.sequence()
        span = Range(start, end, sequence, False, drops, sight.report)
        memtables = sight.memtables()
        with sight.snapshots.take(sequence), self._tables.pin() as view:
            salvaged = salvaged_pairs(view.salvaged, start, end, drops, sight.report)
            behind = await anext(salvaged, None)
            async with aclosing(scan_chunks(memtables, view, span)) as chunks:
                async for keys, values in chunks:
                    for key, value in zip(keys, values, strict=True):
                        while behind is not None and behind[0] <= key:
                            if behind[0] < key:
                                yield behind
                            behind = await anext(salvaged, None)
                        if value is not None:
                            yield key, value
            while behind is not None:
                yield behind
                behind = await anext(salvaged, None)

    async def _restore(self, piece: CorruptMark, start: bytes, end: bytes | None) -> None:
        """Write again the values that only salvaged tables hold, for the healed part of a mark."""
        low = max(start, piece.start)
        high = min((key for key in (end, piece.end) if key is not None), default=None)
        sight, commit = self._sight, None
        with self._tables.pin() as view:
            pairs = salvaged_pairs(view.salvaged, low, high, tuple(sight.drops()), sight.report)
            async with aclosing(pairs):
                async for key, value in pairs:
                    commit = await self._put_if_absent(key, value) or commit
        if commit is not None:
            await commit.synced()

    async def _put_if_absent(self, key: bytes, value: bytes) -> Commit | None:
        """Put the value unless the key has any version: every other version is newer than a salvaged one."""
        while True:
            await self._sight.wait_writable()
            view = self._tables.view
            if await self._newest(key) is not None:
                return None
            if view is self._tables.view and self._in_memory(key) is None:
                batch = Batch()
                batch.put(key, value)
                return self._sight.apply(batch)

    async def _newest(self, key: bytes) -> VersionedValue | None:
        """The newest readable version in memory and in the tables in force; skips damaged blocks."""
        entry = self._in_memory(key)
        if entry is None:
            sight = self._sight
            with self._tables.pin() as view:
                entry = await find_survivor(view, sight.cache, key, sight.sequence(), sight.report)
        return entry

    def _in_memory(self, key: bytes) -> VersionedValue | None:
        for memtable in self._sight.memtables():
            entry = memtable.values.get(key)
            if entry is not None:
                return entry
        return None

    def _finished(self, edit: VersionEdit) -> tuple[int, ...]:
        """Salvaged tables none of whose keys is marked any more: their values were written again."""
        version = self._tables.version
        marks = version.apply(edit).marks
        return tuple(
            meta.file_id
            for meta in version.salvaged
            if not any(
                mark.start <= meta.largest and (mark.end is None or meta.smallest < mark.end)
                for mark in marks
            )
        )
