"""The engine's background work, put together: flushing, merging, watching free space."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ringmill.cluster.ports import Children, FileSystem
from ringmill.node.storage.options import Options
from ringmill.node.storage.upkeep.back_pressure import unmerged_tables, write_rate
from ringmill.node.storage.upkeep.flushing import Flushing
from ringmill.node.storage.upkeep.merging import Merging
from ringmill.node.storage.upkeep.space import SpaceWatch
from ringmill.node.storage.upkeep.stats import Counters
from ringmill.node.storage.upkeep.workroom import Workroom
from ringmill.node.storage.version.handover import Handover
from ringmill.node.storage.version.snapshots import Snapshots
from ringmill.node.storage.version.table_set import TableSet

__all__ = ["Upkeep"]


class Upkeep:
    """Runs until cancelled; `on_change` hears of everything that changes tables, memtables or space."""

    def __init__(
        self,
        *,
        folder: str,
        options: Options,
        files: FileSystem,
        children: Children,
        tables: TableSet,
        snapshots: Snapshots,
        counters: Counters,
        on_change: Callable[[], None],
    ) -> None:
        self._options = options
        self._tables = tables
        self._on_change = on_change
        self._progress = asyncio.Event()
        self._is_over = False
        self.handover = Handover(folder, files, tables)
        room = Workroom(
            folder=folder,
            options=options,
            files=files,
            children=children,
            tables=tables,
            handover=self.handover,
            snapshots=snapshots,
            counters=counters,
            on_change=self._changed,
        )
        self.flushing = Flushing(room)
        self.merging = Merging(room)
        for table in tables.view.tables.values():
            if table.is_hurt:
                self.merging.report_damage(table.file_id)
        self.space = SpaceWatch(folder, options, files, lambda: tables.version)
        self.space.check()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.flushing.run())
            group.create_task(self.merging.run())
            group.create_task(self._tables.sweep())
            group.create_task(self.space.run(self._on_change))

    def wake(self) -> None:
        self.flushing.wake()
        self.merging.wake()

    def write_rate(self) -> float | None:
        """Bytes per second that writers may apply now; None is no limit."""
        return write_rate(unmerged_tables(self._tables.version, self._options), self._options)

    async def settle(self) -> None:
        """Return when nothing is left to flush or to merge, or when that ended for good."""
        while not self._is_over and (self.flushing.sealed or self.merging.is_due()):
            self._progress.clear()
            await self._progress.wait()

    def give_up(self) -> None:
        """Something failed for good: `settle` waits for nothing any more."""
        self._is_over = True
        self._progress.set()

    def _changed(self) -> None:
        self.space.check()
        self._progress.set()
        self._on_change()
