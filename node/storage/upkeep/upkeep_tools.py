"""The objects that flushing and compaction share, as one value."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.complaints import Complaints
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ports import Children, FileSystem
from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.table.table_writer import discard_tables
from ringmill.node.storage.upkeep.space import SpaceWatch
from ringmill.node.storage.upkeep.stats import EngineCounters
from ringmill.node.storage.version.snapshots import Snapshots
from ringmill.node.storage.version.table_installer import TableInstaller
from ringmill.node.storage.version.version_set import VersionSet

__all__ = ["RETRY_S", "LoopClock", "UpkeepTools"]

RETRY_S: Final = 1.0  # after a child that died or found no space


class LoopClock:
    """The clock of the loop's timers: the engine has no other."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepTools:
    """`on_change` is called after every change of tables, memtables or counters.

    `is_busy` tells whether what can wait is put off now.
    """

    folder: str
    options: EngineOptions
    files: FileSystem
    children: Children
    tables: VersionSet
    installer: TableInstaller
    snapshots: Snapshots
    counters: EngineCounters
    complaints: Complaints
    space: SpaceWatch
    on_change: Callable[[], None]
    is_busy: Callable[[], bool]

    def note_failure(self, job: str, error: Exception) -> None:
        """Record the failure of a job that will be retried.

        What neither a disk nor a child explains is logged with its stack, at most once a minute.
        """
        self.counters.failures[job] = str(error)
        if not isinstance(error, OSError | RingmillError):
            self.complaints.add(job, error)
        self.on_change()

    def note_mended(self, job: str) -> None:
        """What had failed was tried again, and is done."""
        if self.counters.failures.pop(job, None) is not None:
            self.on_change()

    @contextmanager
    def discarding(self, file_ids: Iterable[int]) -> Iterator[None]:
        """Delete tables that still have their temporary names when the block ends by an exception.

        A child that was killed could not, and a job that is tried again writes others.
        """
        try:
            yield
        except (Exception, asyncio.CancelledError):
            discard_tables(self.files, self.folder, file_ids)
            raise
