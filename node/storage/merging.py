"""Merging tables: picks are decided by pure functions, children do the work, the manifest names the result.

Also works off what was dropped and takes damaged tables out of service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from cluster.errors import RingmillError
from cluster.ports import FileSystem
from node.storage.children import Children, table_shape
from node.storage.compaction_pick import (
    Pick,
    Situation,
    may_hold,
    older_ranges,
    pick_all,
    pick_damaged,
    pick_merge,
    useless_tables,
)
from node.storage.compaction_run import CompactionJob, compact
from node.storage.errors import StorageFailed
from node.storage.handover import Handover
from node.storage.options import Options
from node.storage.snapshots import Snapshots
from node.storage.stats import Counters
from node.storage.table_format import TableMeta
from node.storage.table_set import TableSet
from node.storage.version import Drop, Edit

__all__ = ["Merging"]

_RETRY_S: Final = 1.0


class Merging:
    """One merge at a time, until cancelled."""

    def __init__(
        self,
        folder: str,
        options: Options,
        files: FileSystem,
        children: Children,
        tables: TableSet,
        handover: Handover,
        snapshots: Snapshots,
        counters: Counters,
        on_change: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._options = options
        self._files = files
        self._children = children
        self._tables = tables
        self._handover = handover
        self._snapshots = snapshots
        self._counters = counters
        self._on_change = on_change
        self._wanted = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._purged: dict[int, int] = {}
        self._damaged: dict[int, None] = {}

    def wake(self) -> None:
        self._wanted.set()

    def report_damage(self, file_id: int) -> None:
        """A block of this table failed its check."""
        self._damaged[file_id] = None
        self._wanted.set()

    def is_due(self) -> bool:
        version, situation = self._tables.version, self._situation()
        return bool(useless_tables(version, situation)) or self._next_pick() is not None

    async def run(self) -> None:
        while True:
            self._wanted.clear()
            while self.is_due():
                try:
                    await self._step()
                except StorageFailed:
                    return
                except (OSError, RingmillError) as error:
                    self._counters.failed_compactions += 1
                    self._counters.last_failure = f"compaction: {error}"
                    self._on_change()
                    await asyncio.sleep(_RETRY_S)
            await self._forget_finished_drops()
            await self._wanted.wait()

    async def merge_range(self, start: bytes, end: bytes | None) -> None:
        """Merge all that overlaps [start, end) into one level.  Raises OSError, RingmillError."""
        async with self._one_at_a_time:
            pick = pick_all(self._tables.version, start, end, self._options)
            if pick is not None:
                await self._merge(pick)

    async def _step(self) -> None:
        async with self._one_at_a_time:
            useless = useless_tables(self._tables.version, self._situation())
            if useless:
                await self._handover.commit(Edit(removed=_ids(useless)))
                self._on_change()
                return
            pick = self._next_pick()
            if pick is not None:
                await self._merge(pick)

    async def _merge(self, pick: Pick) -> None:
        if pick.is_move:
            moved = tuple((pick.target_level, meta) for meta in pick.inputs)
            await self._handover.commit(Edit(added=moved, removed=_ids(pick.inputs)))
            self._counters.moves += 1
            self._on_change()
            return
        job = await self._job(pick)
        result = await self._children.run(compact, self._files, job)
        edit = Edit(
            added=tuple((pick.target_level, meta) for meta in result.tables),
            removed=_ids(pick.inputs),
            marks_added=tuple(mark for marks in result.damaged.values() for mark in marks),
        )
        await self._handover.commit(edit, result.tables, damaged=result.damaged)
        self._remember(pick, job, result.tables)
        await self._keep_to_budget(pick)

    def _remember(self, pick: Pick, job: CompactionJob, made: list[TableMeta]) -> None:
        oldest = min(job.snapshots, default=None)
        newest_drop = max(
            (drop.sequence for drop in job.drops if oldest is None or oldest >= drop.sequence), default=0
        )
        for meta in pick.inputs:
            self._purged.pop(meta.file_id, None)
            self._damaged.pop(meta.file_id, None)
        self._purged |= {meta.file_id: newest_drop for meta in made}
        self._counters.compactions += 1
        self._counters.compaction_read_bytes += sum(meta.size for meta in pick.inputs)
        self._counters.compaction_written_bytes += sum(meta.size for meta in made)
        self._on_change()

    async def _keep_to_budget(self, pick: Pick) -> None:
        budget = self._options.compaction_bytes_per_s
        if budget:
            await asyncio.sleep(sum(meta.size for meta in pick.inputs) / budget)

    async def _job(self, pick: Pick) -> CompactionJob:
        version = self._tables.version
        most_bytes = sum(meta.raw_bytes + 24 * meta.entries for meta in pick.inputs)
        is_split = pick.target_level > 0
        count = most_bytes // self._options.table_bytes + 2 if is_split else 1
        return CompactionJob(
            folder=self._folder,
            runs=pick.runs,
            older=tuple(older_ranges(version, pick)),
            snapshots=self._snapshots.live(),
            drops=version.drops,
            file_ids=tuple(await self._tables.take_ids(count)),
            shape=table_shape(self._options, is_split=is_split),
        )

    def _next_pick(self) -> Pick | None:
        version = self._tables.version
        return pick_damaged(version, self._damaged) or pick_merge(version, self._options, self._situation())

    def _situation(self) -> Situation:
        live = self._snapshots.live()
        missed = {table.file_id: table.misses for table in self._tables.view.tables.values()}
        return Situation(live[0] if live else None, self._purged, missed)

    async def _forget_finished_drops(self) -> None:
        """A drop with nothing left to hide is taken out of the manifest."""
        version = self._tables.version
        oldest = self._situation().oldest_snapshot
        finished = tuple(
            drop
            for drop in version.drops
            if not self._hides(drop) and (oldest is None or oldest >= drop.sequence)
        )
        if finished:
            await self._handover.commit(Edit(drops_removed=finished))
            self._on_change()

    def _hides(self, drop: Drop) -> bool:
        return any(
            may_hold(meta, drop) and self._purged.get(meta.file_id, 0) < drop.sequence
            for meta in self._tables.version.tables()
        )


def _ids(tables: list[TableMeta]) -> tuple[int, ...]:
    return tuple(meta.file_id for meta in tables)
