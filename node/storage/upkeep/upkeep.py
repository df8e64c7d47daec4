"""Combines the engine's background work: flushing, compaction, watching free space."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ringmill.cluster.complaints import Complaints
from ringmill.cluster.ports import Children, FileSystem
from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.unflushed import SealedMemtable
from ringmill.node.storage.upkeep.back_pressure import unmerged_tables, write_rate
from ringmill.node.storage.upkeep.compactor import Compactor
from ringmill.node.storage.upkeep.flusher import Flusher
from ringmill.node.storage.upkeep.space import SpaceWatch
from ringmill.node.storage.upkeep.stats import EngineCounters
from ringmill.node.storage.upkeep.upkeep_tools import LoopClock, UpkeepTools
from ringmill.node.storage.version.snapshots import Snapshots
from ringmill.node.storage.version.table_installer import TableInstaller
from ringmill.node.storage.version.version_set import VersionSet

__all__ = ["Upkeep"]


class Upkeep:
    """Runs until cancelled; calls `on_change` after every change of tables, memtables or free space."""

    def __init__(
        self,
        *,
        folder: str,
        options: EngineOptions,
        files: FileSystem,
        children: Children,
        tables: VersionSet,
        sealed: list[SealedMemtable],
        snapshots: Snapshots,
        counters: EngineCounters,
        on_change: Callable[[], None],
        is_busy: Callable[[], bool],
    ) -> None:
        self._options = options
        self._tables = tables
        self._sealed = sealed
        self._on_change = on_change
        self._progress = asyncio.Event()
        self._is_over = False
        self.installer = TableInstaller(folder, files, tables)
        self.space = SpaceWatch(folder, options, files, lambda: tables.version)
        self.tools = tools = UpkeepTools(
            folder=folder,
            options=options,
            files=files,
            children=children,
            tables=tables,
            installer=self.installer,
            snapshots=snapshots,
            counters=counters,
            complaints=Complaints(f"the store in {folder}", LoopClock()),
            space=self.space,
            on_change=self._changed,
            is_busy=is_busy,
        )
        self._flusher = Flusher(tools, sealed)
        self.compactor = Compactor(tools)
        for table in tables.view.tables.values():
            if table.is_hurt:
                self.compactor.report_damage(table.file_id)
        self.space.check()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._flusher.run())
            group.create_task(self.compactor.run())
            group.create_task(self._tables.sweep())
            group.create_task(self.space.run(self._looked))

    def wake(self) -> None:
        self._flusher.wake()
        self.compactor.wake()

    def write_rate(self) -> float | None:
        """Bytes per second that writers may apply now; None: without a limit."""
        return write_rate(unmerged_tables(self._tables.version, self._options), self._options)

    async def wait_idle(self) -> None:
        """Return when nothing is left to flush, or to compact for which there is space, or when that ended
        permanently."""
        while not self._is_over and (self._sealed or self.compactor.is_due()):
            self._progress.clear()
            await self._progress.wait()

    async def wait_flushed(self, sequence: int) -> None:
        """Return when all batches up to this one are in tables, or when that ended permanently."""
        while not self._is_over and self._sealed and self._tables.version.flushed_sequence < sequence:
            self._progress.clear()
            await self._progress.wait()

    def give_up(self) -> None:
        """Note a permanent failure; `wait_idle` then returns at once."""
        self._is_over = True
        self._progress.set()

    def _changed(self) -> None:
        self.space.check()
        self._looked()

    def _looked(self) -> None:
        self._progress.set()
        self._on_change()
