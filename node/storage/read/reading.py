"""Reading an open store: one key or a range, now or as of a snapshot, judged by marks and drops.

What was never synced is not shown any more once the log has failed.  Rule H5: docs/protocol/repair.md.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from ringmill.node.storage.memtable import VersionedValue
from ringmill.node.storage.read.drop_index import NO_DROPS, DropIndex
from ringmill.node.storage.read.judgement import check_span, judge_entry
from ringmill.node.storage.read.lookup import find, find_off_loop
from ringmill.node.storage.read.scan import Range, checked_chunks
from ringmill.node.storage.storage_errors import CorruptBlock
from ringmill.node.storage.table.block_cache import BlockCache
from ringmill.node.storage.unflushed import Unflushed
from ringmill.node.storage.version.snapshots import Snapshot, Snapshots
from ringmill.node.storage.version.version import CorruptMark, Drop
from ringmill.node.storage.version.version_set import VersionSet, View

__all__ = ["Reading"]


class Reading:
    """`report` hears of each damaged block, `check` raises once nothing unsynced may be shown."""

    def __init__(
        self,
        *,
        unflushed: Unflushed,
        tables: VersionSet,
        cache: BlockCache,
        snapshots: Snapshots,
        report: Callable[[CorruptBlock], None],
        check: Callable[[], None],
        sorted_at_once: int,
    ) -> None:
        self._unflushed = unflushed
        self._tables = tables
        self._cache = cache
        self._snapshots = snapshots
        self._report = report
        self._check = check
        self._sorted_at_once = sorted_at_once
        self.scans = 0  # begun since the start
        self.scanned_bytes = 0  # of blocks that they read; memtables are not counted
        self.is_plain = True  # no drop, mark or failure: `get_nowait` may return what it finds first
        self._index = NO_DROPS
        self._drops: list[Drop] = []  # those of the index

    def get_nowait(self, key: bytes) -> bytes | None:
        """As Engine.get_nowait."""
        unflushed = self._unflushed
        entry: VersionedValue | None = unflushed.active.values.get(key)
        if entry is None:
            for sealed in unflushed.sealed:
                entry = sealed.memtable.values.get(key)
                if entry is not None:
                    break
            else:
                try:
                    entry = find(self._tables.view, self._cache, key, unflushed.sequence)
                except CorruptBlock as error:
                    self._report(error)
                    raise
        if self.is_plain:
            return None if entry is None else entry[1]
        return self._judge(key, entry, unflushed.sequence, self._tables.version.marks)

    async def get(self, key: bytes, snapshot: Snapshot | None) -> bytes | None:
        """As Engine.get."""
        sequence = self._sequence(snapshot)
        entry = self._unflushed.find(key, sequence)
        if entry is not None:
            return self._judge(key, entry, sequence, self._marks(self._tables.view, snapshot))
        index = self._index  # a drop may be forgotten once other tables are in the place of the pinned ones
        with self._tables.pin() as view:
            try:
                entry = await find_off_loop(view, self._cache, key, sequence)
            except CorruptBlock as error:
                self._report(error)
                raise
            return self._judge(key, entry, sequence, self._marks(view, snapshot), index)

    async def get_for_change(self, key: bytes) -> tuple[bytes | None, bool]:
        """As Engine.get_for_change."""
        view, drops = self._tables.view, self._drops
        value = await self.get(key, None)
        is_unwritten = self._unflushed.find(key, self._unflushed.sequence) is None
        return value, is_unwritten and view is self._tables.view and drops == self._drops

    async def scan(
        self, start: bytes, end: bytes | None, reverse: bool, snapshot: Snapshot | None
    ) -> AsyncGenerator[tuple[bytes, bytes], None]:
        """As Engine.scan."""
        async with aclosing(self.scan_chunks(start, end, reverse, snapshot)) as chunks:
            async for chunk in chunks:
                for pair in chunk:
                    yield pair

    async def scan_chunks(
        self, start: bytes, end: bytes | None, reverse: bool, snapshot: Snapshot | None
    ) -> AsyncGenerator[list[tuple[bytes, bytes]], None]:
        """As Engine.scan_chunks."""
        sequence = self._sequence(snapshot)
        drops = tuple(drop for drop in self._drops if drop.sequence <= sequence)
        span = Range(
            start, end, sequence, reverse, drops,
            on_read=self._note_read, sorted_at_once=self._sorted_at_once,
        )  # fmt: skip
        self.scans += 1
        memtables = self._unflushed.memtables()
        with self._snapshots.take(sequence), self._tables.pin() as view:

            def check(low: bytes, high: bytes | None) -> None:
                self._check()
                check_span(low, high, self._marks(view, snapshot))

            try:
                async for pairs in checked_chunks(memtables, view, span, check):
                    yield pairs
            except CorruptBlock as error:
                self._report(error)
                raise

    def refresh(self, *, is_failed: bool) -> None:
        """Take up the present drops and marks: the version, the memtables or the health changed."""
        drops = self.drops()
        if drops != self._drops:
            self._drops, self._index = drops, DropIndex(drops)
        self.is_plain = not (is_failed or self._tables.version.marks or self._index)

    def drops(self) -> list[Drop]:
        """The drops in force, of memory and of tables."""
        fresh = [Drop(*drop) for memtable in self._unflushed.memtables() for drop in memtable.drops]
        return [*fresh, *self._tables.version.drops]

    def _note_read(self, size_bytes: int) -> None:
        self.scanned_bytes += size_bytes

    def _sequence(self, snapshot: Snapshot | None) -> int:
        return self._unflushed.sequence if snapshot is None else snapshot.sequence

    def _marks(self, view: View, snapshot: Snapshot | None) -> tuple[CorruptMark, ...]:
        """Those by which a read is judged that began with `view`: what healed a range since is not in it."""
        marks = self._tables.version.marks
        if view.version.marks != marks:
            marks += view.version.marks
        return marks if snapshot is None else marks + snapshot.healed_since

    def _judge(
        self,
        key: bytes,
        entry: VersionedValue | None,
        sequence: int,
        marks: tuple[CorruptMark, ...],
        index: DropIndex | None = None,
    ) -> bytes | None:
        """By the drops in force now, or those of `index`."""
        if entry is not None and entry[0] > self._unflushed.log.synced_sequence:
            self._check()
        return judge_entry(key, entry, sequence, marks, self._index if index is None else index)
