"""Flushing sealed memtables: a child rebuilds the table from the closed logs, oldest memtable first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cluster.errors import RingmillError
from cluster.ports import FileSystem
from node.storage.children import Children, table_shape
from node.storage.errors import StorageFailed
from node.storage.flush import FlushJob, FlushResult, flush_logs
from node.storage.handover import Handover
from node.storage.memtable import Memtable
from node.storage.options import Options
from node.storage.snapshots import Snapshots
from node.storage.stats import Counters
from node.storage.table_set import TableSet
from node.storage.version import Drop, Edit
from node.storage.write_ahead_log import LogFile

__all__ = ["Flushing", "Sealed"]

_RETRY_S: Final = 1.0


@dataclass(slots=True)
class Sealed:
    """A full memtable and the logs it came from; the last one may still be on its way to the disk."""

    memtable: Memtable
    log_ids: list[int]
    last_log: LogFile

    async def closed_logs(self) -> tuple[int, ...]:
        """Raises StorageFailed when the last log could not be closed."""
        await self.last_log.closed.wait()
        if not self.last_log.is_whole:
            raise StorageFailed("the log of a sealed memtable could not be written to its end")
        return (*self.log_ids, *self.last_log.file_ids)


class Flushing:
    """Flushes what is in `sealed` (newest first, shared with the engine) from its end, until cancelled."""

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
        self.sealed: list[Sealed] = []

    def wake(self) -> None:
        self._wanted.set()

    async def run(self) -> None:
        """A child that dies or finds no space costs a retry; a failed log or manifest ends this."""
        while True:
            self._wanted.clear()
            while self.sealed:
                try:
                    await self._flush(self.sealed[-1])
                except StorageFailed:
                    return
                except (OSError, RingmillError) as error:
                    self._counters.failed_flushes += 1
                    self._counters.last_failure = f"flush: {error}"
                    self._on_change()
                    await asyncio.sleep(_RETRY_S)
            await self._wanted.wait()

    async def _flush(self, sealed: Sealed) -> None:
        log_ids = await sealed.closed_logs()
        job = FlushJob(
            folder=self._folder,
            log_ids=log_ids,
            flushed_sequence=sealed.memtable.first_sequence - 1,
            snapshots=self._snapshots.live(),
            file_ids=tuple(await self._tables.take_ids(1)),
            shape=table_shape(self._options, is_split=False),
        )
        result = await self._children.run(flush_logs, self._files, job)
        edit = _edit(sealed, log_ids, result)
        await self._handover.commit(edit, result.tables, finished_logs=log_ids)
        self.sealed.remove(sealed)
        self._counters.flushes += 1
        self._counters.flushed_bytes += sum(meta.size for meta in result.tables)
        self._on_change()


def _edit(sealed: Sealed, log_ids: tuple[int, ...], result: FlushResult) -> Edit:
    return Edit(
        added=tuple((0, meta) for meta in result.tables),
        oldest_log=max(log_ids, default=-1) + 1 or None,
        flushed_sequence=result.last_sequence,
        drops_added=tuple(
            Drop(prefix, sequence)
            for prefix, sequence in sealed.memtable.drops
            if sequence <= result.last_sequence
        ),
        marks_added=tuple(loss.mark() for loss in result.losses),
    )
