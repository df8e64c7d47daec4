"""Flushing sealed memtables: a child rebuilds the table from the closed logs, oldest memtable first."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from cluster.errors import RingmillError
from node.storage.children import table_shape
from node.storage.errors import StorageFailed
from node.storage.flush import FlushJob, FlushResult, flush_logs
from node.storage.memtable import Memtable
from node.storage.version import Drop, Edit
from node.storage.workroom import RETRY_S, Workroom
from node.storage.write_ahead_log import LogFile

__all__ = ["Flushing", "Sealed"]


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

    def __init__(self, room: Workroom) -> None:
        self._room = room
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
                    self._room.counters.failed_flushes += 1
                    self._room.counters.last_failure = f"flush: {error}"
                    self._room.on_change()
                    await asyncio.sleep(RETRY_S)
            await self._wanted.wait()

    async def _flush(self, sealed: Sealed) -> None:
        log_ids = await sealed.closed_logs()
        job = FlushJob(
            folder=self._room.folder,
            log_ids=log_ids,
            flushed_sequence=sealed.memtable.first_sequence - 1,
            snapshots=self._room.snapshots.live(),
            file_ids=tuple(await self._room.tables.take_ids(1)),
            shape=table_shape(self._room.options, is_split=False),
        )
        result = await self._room.children.run(flush_logs, self._room.files, job)
        edit = _edit(sealed, log_ids, result)
        await self._room.handover.commit(edit, result.tables, finished_logs=log_ids)
        self.sealed.remove(sealed)
        self._room.counters.flushes += 1
        self._room.counters.flushed_bytes += sum(meta.size for meta in result.tables)
        self._room.on_change()


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
