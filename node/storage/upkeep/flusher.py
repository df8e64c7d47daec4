"""Flushes sealed memtables: a child builds the table from the closed logs, oldest memtable first.

If a log was damaged meanwhile, the table is written from the memtable, which is sound.  For some minutes
after child processes died or ran out of memory, a thread writes the table from the memtable: another child
would die the same way, while writers wait for it.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.os_errors import Meaning, meaning_of
from ringmill.cluster.sometimes import sometimes
from ringmill.node.storage.names import log_name
from ringmill.node.storage.storage_errors import StorageFailed, UnreadableBlock
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.table.table_writer import discard_tables
from ringmill.node.storage.unflushed import SealedMemtable
from ringmill.node.storage.upkeep.flush_child import FlushJob, flush_logs, flush_memtable
from ringmill.node.storage.upkeep.table_shape import table_shape
from ringmill.node.storage.upkeep.upkeep_tools import RETRY_S, UpkeepTools
from ringmill.node.storage.version.version import Drop, VersionEdit

__all__ = ["Flusher"]

MOST_LOST_CHILDREN: Final = 2
_CHILD_AGAIN_S: Final = 600.0  # each that is tried may end the node in its place, or a whole container


class Flusher:
    """Flushes sealed memtables (newest first) from the end of their list, until cancelled."""

    def __init__(self, tools: UpkeepTools, sealed: list[SealedMemtable]) -> None:
        self._tools = tools
        self._lost_children = 0  # one after the other
        self._lost_at = 0.0
        self._wanted = asyncio.Event()
        self._sealed = sealed

    def wake(self) -> None:
        self._wanted.set()

    async def run(self) -> None:
        """Flush until cancelled.

        A flush that fails is tried again; a failed log or manifest ends it.
        """
        while True:
            self._wanted.clear()
            while self._sealed:
                try:
                    await self._flush(self._sealed[-1])
                    self._tools.note_mended("flush")
                except StorageFailed:
                    return
                except Exception as error:  # noqa: BLE001  a child passes on whatever it met
                    sometimes("a flush fails and is tried again")
                    self._tools.counters.failed_flushes += 1
                    self._tools.note_failure("flush", error)
                    await asyncio.sleep(RETRY_S)
            await self._wanted.wait()

    async def _flush(self, sealed: SealedMemtable) -> None:
        log_ids = await sealed.closed_logs()
        tables = None
        if not sealed.is_log_damaged and self._takes_child():
            tables = await self._flush_logs(sealed, log_ids)
            if tables is None:
                sometimes("a flush finds a log damaged and takes the memtable")
                sealed.is_log_damaged = True
        if tables is None:
            job = await self._job(sealed, log_ids)
            tables = await self._tools.files.off_loop(flush_memtable, self._tools.files, job, sealed.memtable)
        damaged = map(log_name, log_ids) if sealed.is_log_damaged else ()
        edit = _edit(sealed, log_ids, tables)
        with self._tools.discarding(meta.file_id for meta in tables):
            await self._tools.installer.commit(edit, tables, damaged=damaged, finished_logs=log_ids)
        self._sealed.remove(sealed)
        self._tools.counters.flushes += 1
        self._tools.counters.flushed_bytes += sum(meta.size for meta in tables)
        self._tools.on_change()

    def _takes_child(self) -> bool:
        """Not for a while after some have died."""
        waited_s = asyncio.get_running_loop().time() - self._lost_at
        return self._lost_children < MOST_LOST_CHILDREN or waited_s >= _CHILD_AGAIN_S

    async def _flush_logs(self, sealed: SealedMemtable, log_ids: tuple[int, ...]) -> list[TableMeta] | None:
        """The tables that a child made from the logs; None when the logs lack batches of the memtable."""
        job = await self._job(sealed, log_ids)
        try:
            with self._tools.discarding(job.file_ids):
                result = await self._tools.children.run(flush_logs, self._tools.files, job)
        except (FileNotFoundError, UnreadableBlock):
            return None
        except OSError as error:
            if isinstance(error, ChildProcessError) or meaning_of(error) is Meaning.EXHAUSTED:
                self._lost_children += 1
                self._lost_at = asyncio.get_running_loop().time()
            raise
        self._lost_children = 0
        if not result.losses and result.last_sequence == sealed.last_sequence:
            return result.tables
        discard_tables(self._tools.files, self._tools.folder, job.file_ids)
        return None

    async def _job(self, sealed: SealedMemtable, log_ids: tuple[int, ...]) -> FlushJob:
        return FlushJob(
            folder=self._tools.folder,
            log_ids=log_ids,
            flushed_sequence=sealed.memtable.first_sequence - 1,
            snapshots=self._tools.snapshots.live(),
            file_ids=tuple(await self._tools.tables.take_ids(1)),
            shape=table_shape(self._tools.options, is_split=False),
        )


def _edit(sealed: SealedMemtable, log_ids: tuple[int, ...], tables: list[TableMeta]) -> VersionEdit:
    return VersionEdit(
        added=tuple((0, meta) for meta in tables),
        oldest_log=max(log_ids, default=-1) + 1 or None,
        flushed_sequence=sealed.last_sequence,
        drops_added=tuple(Drop(prefix, sequence) for prefix, sequence in sealed.memtable.drops),
    )
