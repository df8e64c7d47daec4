"""The objects that flushing and compaction share, as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.ports import Children, FileSystem
from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.upkeep.space import SpaceWatch
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
    space: SpaceWatch
    on_change: Callable[[], None]
    is_busy: Callable[[], bool]
