"""Runs compactions: pure functions pick the tables, a child process does the work, the manifest names the
result.

It also removes dropped keys and takes damaged tables out of service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set
from itertools import chain
from typing import Final

from ringmill.cluster.overload.giving_way import put_off
from ringmill.cluster.ports import FileSystem
from ringmill.cluster.sometimes import sometimes
from ringmill.node.storage.names import table_name
from ringmill.node.storage.storage_errors import StorageFailed, UnreadableBlock
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.table.unreadable import Place
from ringmill.node.storage.upkeep.compaction_child import CompactionJob, CompactionResult, compact
from ringmill.node.storage.upkeep.compaction_pick import (
    CompactionPick,
    RangePicks,
    Situation,
    SpaceRule,
    older_ranges,
    pick_compaction,
    pick_damaged,
    useless_tables,
)
from ringmill.node.storage.upkeep.table_shape import table_shape
from ringmill.node.storage.upkeep.upkeep_tools import RETRY_S, UpkeepTools
from ringmill.node.storage.version.table_ranges import drops_within, holders, may_hold, outer_range
from ringmill.node.storage.version.version import Drop, VersionEdit

__all__ = ["MOST_PUT_OFF_S", "READ_AGAIN_S", "Compactor"]

MOST_PUT_OFF_S: Final = 60.0
"""A node that is never at rest still compacts, one such compaction a minute."""
READ_AGAIN_S: Final = 5.0
"""How long after a failed disk read a second failure counts the block as lost."""


class Compactor:
    """Runs one compaction at a time, until cancelled."""

    def __init__(self, tools: UpkeepTools) -> None:
        self._tools = tools
        self._wanted = asyncio.Event()
        self.one_at_a_time = asyncio.Lock()
        """While it is held, no table moves to another level."""
        self._purged: dict[int, int] = {}
        self._damaged: dict[int, None] = {}
        self._unreadable: list[Place] = []  # by the last merge
        self._merging: CompactionPick | None = None  # the engine's own
        self._aside: set[int] = set()  # tables of merges that failed a moment ago
        self._suspects: set[Place] = set()  # not read by an earlier merge, either (rule E10)

    def wake(self) -> None:
        self._wanted.set()

    def report_damage(self, file_id: int) -> bool:
        """A block of this table failed its check.  Returns whether it is the first that is known to."""
        is_news = file_id not in self._damaged
        self._tools.counters.damaged_tables += is_news
        self._damaged[file_id] = None
        self._wanted.set()
        return is_news

    def is_due(self) -> bool:
        """Whether there is something to do for which there is space, now or when it is tried again."""
        return self._is_due_now() or self._next_pick(frozenset()) is not None

    def _is_due_now(self) -> bool:
        version, situation = self._tools.tables.version, self._situation()
        return bool(useless_tables(version, situation)) or self._next_pick(self._aside) is not None

    async def run(self) -> None:
        """Compact until cancelled.

        A compaction that fails is tried again, and others have their turn before; a failed log or manifest
        ends it.
        """
        while True:
            self._wanted.clear()
            try:
                while self._is_due_now():
                    await self._put_off()
                    await self._step()
                await self._forget_finished_drops()
                if not self._aside:  # what failed is tried again first
                    self._tools.note_mended("compaction")
            except StorageFailed:
                return
            except Exception as error:  # noqa: BLE001  a child passes on whatever it met
                sometimes("a compaction fails and is tried again")
                self._tools.counters.failed_compactions += 1
                self._tools.note_failure("compaction", error)
                if self._merging is None:
                    await asyncio.sleep(RETRY_S)
                else:
                    self._put_aside(self._merging)
                    self._merging = None  # what fails next is not a merge of these tables
            else:
                await self._wanted.wait()

    def _put_aside(self, failed: CompactionPick) -> None:
        """Let merges of other tables go first, for a while."""
        unreadable, self._unreadable = self._unreadable, []
        ids = frozenset(_ids(failed.inputs))
        self._aside |= ids

        def try_again() -> None:
            self._aside -= ids
            self._suspects.update(unreadable)
            self._wanted.set()

        asyncio.get_running_loop().call_later(READ_AGAIN_S if unreadable else RETRY_S, try_again)

    async def compact_range(self, start: bytes, end: bytes | None) -> None:
        """Compact all tables that overlap [start, end) into one level, a few at a time (rule E12).

        Raises DiskFull when some were left as they are, for want of the space that it takes to merge them;
        OSError, RingmillError.
        """
        tools = self._tools
        picks, refusal = RangePicks(tools.tables.version, start, end, tools.options), None
        while True:
            async with self.one_at_a_time:  # between two of them a more urgent one has its turn
                pick = picks.following(tools.tables.version)
                if pick is None:
                    break
                no_space = None if pick.is_move else tools.space.refusal_of_merge(pick.input_bytes)
                if no_space is None:
                    await self._merge(pick)
                refusal = refusal or no_space
        if refusal is not None:
            raise refusal

    async def _put_off(self) -> None:
        """Let requests go first, for a while, if the next compaction can wait (rule O8)."""
        await put_off(lambda: self._tools.is_busy() and self._can_wait(), MOST_PUT_OFF_S)

    def _can_wait(self) -> bool:
        useless = useless_tables(self._tools.tables.version, self._situation())
        pick = self._next_pick(self._aside)
        return not useless and pick is not None and pick.can_wait

    async def _step(self) -> None:
        self._merging = None
        async with self.one_at_a_time:
            useless = useless_tables(self._tools.tables.version, self._situation())
            if useless:
                await self._tools.installer.commit(VersionEdit(removed=_ids(useless)))
                self._tools.on_change()
                return
            self._merging = pick = self._next_pick(self._aside)
            if pick is not None:
                await self._merge(pick)
        self._merging = None

    async def _merge(self, pick: CompactionPick) -> None:
        if pick.is_move:
            moved = tuple((pick.target_level, meta) for meta in pick.inputs)
            await self._tools.installer.commit(VersionEdit(added=moved, removed=_ids(pick.inputs)))
            sometimes("a table moves down without a merge")
            self._tools.counters.moves += 1
            self._tools.on_change()
            return
        job = await self._job(pick)
        with self._tools.discarding(job.file_ids):
            result = await self._tools.children.run(compact, self._paced_files(), job)
            self._check(result)
            edit = VersionEdit(
                added=tuple((pick.target_level, meta) for meta in result.tables),
                removed=_ids(pick.inputs),
                marks_added=tuple(mark for marks in result.damaged.values() for mark in marks),
            )
            damaged = map(table_name, result.damaged)
            await self._tools.installer.commit(edit, result.tables, damaged=damaged)
        self._remember(pick, job, result.tables)

    def _check(self, result: CompactionResult) -> None:
        """Raises UnreadableBlock when the disk could not read a block that may be readable later."""
        if result.unreadable:
            self._unreadable = result.unreadable
            for file_id, _ in result.unreadable:
                self.report_damage(file_id)
            file_id, offset = result.unreadable[0]
            path = f"{self._tools.folder}/{table_name(file_id)}"
            raise UnreadableBlock(path, offset, "it cannot be read now, and is read again")

    def _remember(self, pick: CompactionPick, job: CompactionJob, made: list[TableMeta]) -> None:
        oldest = min(job.snapshots, default=None)
        newest_drop = max(
            (drop.sequence for drop in job.drops if oldest is None or oldest >= drop.sequence), default=0
        )
        for meta in pick.inputs:
            self._purged.pop(meta.file_id, None)
            self._damaged.pop(meta.file_id, None)
        gone = _ids(pick.inputs)
        self._suspects = {place for place in self._suspects if place[0] not in gone}
        self._purged |= {meta.file_id: newest_drop for meta in made}
        self._tools.counters.compactions += 1
        self._tools.counters.compaction_read_bytes += sum(meta.size for meta in pick.inputs)
        self._tools.counters.compaction_written_bytes += sum(meta.size for meta in made)
        self._tools.on_change()

    def _paced_files(self) -> FileSystem:
        """The files for the child: it reads, and so writes, no faster than the budget allows."""
        budget = self._tools.options.compaction_bytes_per_s
        return self._tools.files.paced(budget) if budget else self._tools.files

    async def _job(self, pick: CompactionPick) -> CompactionJob:
        version = self._tools.tables.version
        most_bytes = sum(meta.raw_bytes + 24 * meta.entries for meta in pick.inputs)
        is_split = pick.target_level > 0
        count = most_bytes // self._tools.options.table_bytes + 2 + len(pick.cuts) if is_split else 1
        return CompactionJob(
            folder=self._tools.folder,
            runs=pick.runs,
            older=tuple(older_ranges(version, pick)),
            snapshots=self._tools.snapshots.live(),
            drops=drops_within(version, *outer_range(pick.inputs)),
            file_ids=tuple(await self._tools.tables.take_ids(count)),
            shape=table_shape(self._tools.options, is_split=is_split, cuts=pick.cuts),
            has_marks=bool(version.marks),
            suspects=frozenset(self._suspects),
        )

    def _next_pick(self, aside: Set[int]) -> CompactionPick | None:
        """The most urgent one for which there is space, of tables that are not `aside`."""
        version, situation = self._tools.tables.version, self._situation(aside)
        try:
            spare, bare = self._tools.space.rooms_for_merges()
        except OSError:  # if the system cannot tell, the next look will
            spare = bare = -1

        def may_run(pick: CompactionPick) -> bool:
            return aside.isdisjoint(_ids(pick.inputs)) and _has_space(pick, spare, bare)

        return pick_damaged(version, self._damaged, may_run) or pick_compaction(
            version, self._tools.options, situation, may_run
        )

    def _situation(self, aside: Set[int] = frozenset()) -> Situation:
        live = self._tools.snapshots.live()
        missed = {table.file_id: table.misses for table in self._tools.tables.view.tables.values()}
        return Situation(live[0] if live else None, self._purged, missed, aside)

    async def _forget_finished_drops(self) -> None:
        """Remove drops from the manifest that have nothing left to hide."""
        version = self._tools.tables.version
        oldest = self._situation().oldest_snapshot
        finished = tuple(
            drop
            for drop in version.drops
            if (oldest is None or oldest >= drop.sequence) and not self._hides(drop)
        )
        if finished:
            await self._tools.installer.commit(VersionEdit(drops_removed=finished))
            self._tools.on_change()

    def _hides(self, drop: Drop) -> bool:
        version = self._tools.tables.version
        tables = (meta for _, meta in holders(version, drop))
        salvaged = (meta for meta in version.salvaged if may_hold(meta, drop))
        return any(self._purged.get(meta.file_id, 0) < drop.sequence for meta in chain(tables, salvaged))


def _ids(tables: list[TableMeta]) -> tuple[int, ...]:
    return tuple(meta.file_id for meta in tables)


def _has_space(pick: CompactionPick, spare: int, bare: int) -> bool:
    """Rule E12."""
    if pick.is_move or pick.space is SpaceRule.ANY:
        return True
    return pick.input_bytes <= (spare if pick.space is SpaceRule.SPARE else bare)
