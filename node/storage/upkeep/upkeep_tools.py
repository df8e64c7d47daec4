"""The objects that flushing and compaction share, as one value."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.ports import Children, FileSystem
from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.table.table_writer import discard_tables
from ringmill.node.storage.upkeep.stats import EngineCounters
from ringmill.node.storage.version.snapshots import Snapshots
from ringmill.node.storage.version.table_installer import TableInstaller
from ringmill.node.storage.version.version_set import VersionSet

__all__ = ["RETRY_S", "UpkeepTools"]

RETRY_S: Final = 1.0  # after a child that died or found no space


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
    on_change: Callable[[], None]
    is_busy: Callable[[], bool]

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
