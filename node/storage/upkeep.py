"""The engine's background work: flushing sealed memtables, merging tables.  Both run in child processes.

What to do next is decided by pure functions of the version; this file starts it, takes the result over, and
names it in the manifest.  A child that dies costs a retry, never data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, ParamSpec, Protocol, TypeVar

from cluster.errors import RingmillError
from cluster.ports import FileSystem
from node.storage.compaction_pick import Pick, older_ranges, pick_leveled
from node.storage.compaction_run import CompactionJob, compact
from node.storage.flush import FlushJob, FlushResult, flush_logs
from node.storage.memtable import Memtable
from node.storage.names import QUARANTINE, log_name, table_name, temporary_name
from node.storage.options import Options
from node.storage.snapshots import Snapshots
from node.storage.stats import Counters
from node.storage.table_format import TableMeta
from node.storage.table_set import TableSet
from node.storage.table_writer import TableShape
from node.storage.version import Drop, Edit
from node.storage.write_ahead_log import LogFile

__all__ = ["Children", "Sealed", "Upkeep"]

_RETRY_S: Final = 1.0
_ONE_TABLE: Final = 1 << 62

P = ParamSpec("P")
T = TypeVar("T")


class Children(Protocol):
    """The part of the Spawner door that an engine needs."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See cluster.ports.Spawner."""
        ...


@dataclass(slots=True)
class Sealed:
    """A full memtable and the logs it came from; the last one may still be on its way to the disk."""

    memtable: Memtable
    log_ids: list[int]
    last_log: LogFile | None

    async def closed_logs(self) -> tuple[int, ...]:
        if self.last_log is None:
            return tuple(self.log_ids)
        await self.last_log.closed.wait()
        return (*self.log_ids, self.last_log.file_id)


class Upkeep:
    """Runs until cancelled.  `sealed` is shared with the engine: newest first, flushed from the end."""

    def __init__(
        self,
        folder: str,
        options: Options,
        files: FileSystem,
        spawner: Children,
        tables: TableSet,
        snapshots: Snapshots,
        counters: Counters,
        on_change: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._options = options
        self._files = files
        self._spawner = spawner
        self._tables = tables
        self._snapshots = snapshots
        self._counters = counters
        self._on_change = on_change
        self._flush_wanted = asyncio.Event()
        self._merge_wanted = asyncio.Event()
        self._merging = asyncio.Lock()
        self._progress = asyncio.Event()
        self.sealed: list[Sealed] = []

    def wake(self) -> None:
        """Something was sealed, or the shape of the levels changed."""
        self._flush_wanted.set()
        self._merge_wanted.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._flush_forever())
            group.create_task(self._merge_forever())

    async def settle(self) -> None:
        """Return when nothing is left to flush or to merge."""
        while self.sealed or pick_leveled(self._tables.version, self._options):
            self._progress.clear()
            await self._progress.wait()

    async def merge(self, pick: Pick) -> None:
        """Do one merge and name its result in the manifest.  Raises OSError, RingmillError."""
        self._counters.moves += pick.is_move
        if pick.is_move:
            moved = tuple((pick.target_level, meta) for meta in pick.inputs)
            await self._tables.commit(Edit(added=moved, removed=_ids(pick.inputs)))
            self._changed()
            return
        job = await self._job(pick)
        result = await self._spawner.run(compact, self._files, job)
        marks = tuple(mark for marks in result.damaged.values() for mark in marks)
        await self._take_over(result.tables)
        for file_id in result.damaged:
            self._keep_aside(file_id)
        added = tuple((pick.target_level, meta) for meta in result.tables)
        await self._tables.commit(Edit(added=added, removed=_ids(pick.inputs), marks_added=marks))
        self._counters.compactions += 1
        self._counters.compaction_read_bytes += sum(meta.size for meta in pick.inputs)
        self._counters.compaction_written_bytes += sum(meta.size for meta in result.tables)
        self._changed()

    def _changed(self) -> None:
        self._progress.set()
        self._on_change()

    async def _flush_forever(self) -> None:
        while True:
            self._flush_wanted.clear()
            while self.sealed:
                try:
                    await self._flush(self.sealed[-1])
                except (OSError, RingmillError) as error:
                    self._counters.failed_flushes += 1
                    self._counters.last_failure = f"flush: {error}"
                    await asyncio.sleep(_RETRY_S)
            await self._flush_wanted.wait()

    async def _flush(self, sealed: Sealed) -> None:
        log_ids = await sealed.closed_logs()
        file_ids = await self._tables.take_ids(1)
        job = FlushJob(
            folder=self._folder,
            log_ids=log_ids,
            flushed_sequence=sealed.memtable.first_sequence - 1,
            snapshots=self._snapshots.live(),
            file_ids=tuple(file_ids),
            shape=self._shape(_ONE_TABLE),
        )
        result = await self._spawner.run(flush_logs, self._files, job)
        await self._take_over(result.tables)
        await self._tables.commit(_flush_edit(sealed, log_ids, result))
        self.sealed.remove(sealed)
        self._counters.flushes += 1
        self._counters.flushed_bytes += sum(meta.size for meta in result.tables)
        for log_id in log_ids:
            self._files.unlink(f"{self._folder}/{log_name(log_id)}")
        self._changed()

    async def _merge_forever(self) -> None:
        while True:
            self._merge_wanted.clear()
            while pick := pick_leveled(self._tables.version, self._options):
                try:
                    async with self._merging:
                        await self.merge(pick)
                except (OSError, RingmillError) as error:
                    self._counters.failed_compactions += 1
                    self._counters.last_failure = f"compaction: {error}"
                    await asyncio.sleep(_RETRY_S)
            await self._merge_wanted.wait()

    async def _job(self, pick: Pick) -> CompactionJob:
        version = self._tables.version
        most_bytes = sum(meta.raw_bytes + 24 * meta.entries for meta in pick.inputs)
        count = most_bytes // self._options.table_bytes + 2
        return CompactionJob(
            folder=self._folder,
            runs=pick.runs,
            older=tuple(older_ranges(version, pick)),
            snapshots=self._snapshots.live(),
            drops=version.drops,
            file_ids=tuple(await self._tables.take_ids(count)),
            shape=self._shape(self._options.table_bytes),
        )

    async def _take_over(self, tables: list[TableMeta]) -> None:
        """Give a child's synced files the names that the manifest is going to use."""
        for meta in tables:
            self._files.rename(
                f"{self._folder}/{temporary_name(meta.file_id)}",
                f"{self._folder}/{table_name(meta.file_id)}",
            )
        await self._files.off_loop(self._files.fsync_dir, self._folder)

    def _keep_aside(self, file_id: int) -> None:
        """Keep a damaged table for people to look at; the engine is done with it."""
        self._files.mkdir(f"{self._folder}/{QUARANTINE}")
        target = f"{self._folder}/{QUARANTINE}/{table_name(file_id)}"
        if not self._files.exists(target):
            self._files.link(f"{self._folder}/{table_name(file_id)}", target)

    def _shape(self, table_bytes: int) -> TableShape:
        options = self._options
        return TableShape(options.block_bytes, table_bytes, options.compression, options.filter_bits_per_key)


def _flush_edit(sealed: Sealed, log_ids: tuple[int, ...], result: FlushResult) -> Edit:
    return Edit(
        added=tuple((0, meta) for meta in result.tables),
        oldest_log=max(log_ids) + 1,
        flushed_sequence=result.last_sequence,
        drops_added=tuple(Drop(prefix, sequence) for prefix, sequence in sealed.memtable.drops),
        marks_added=tuple(loss.mark() for loss in result.losses),
    )


def _ids(tables: list[TableMeta]) -> tuple[int, ...]:
    return tuple(meta.file_id for meta in tables)
