"""Counts of what an engine did since it was opened, and its present shape.

All figures are in memory, so taking them costs the same with a million keys or with damage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from ringmill.node.storage.log.write_ahead_log import WriteAheadLog
from ringmill.node.storage.memtable import Memtable
from ringmill.node.storage.read.reading import Reading
from ringmill.node.storage.table.block_cache import BlockCache
from ringmill.node.storage.version.snapshots import Snapshots
from ringmill.node.storage.version.version import Version

__all__ = ["EngineCounters", "LevelStats", "Stats", "take_stats"]


@dataclass(slots=True)
class EngineCounters:
    """Added up by the engine and its upkeep."""

    flushes: int = 0
    flushed_bytes: int = 0
    compactions: int = 0
    moves: int = 0
    compaction_read_bytes: int = 0
    compaction_written_bytes: int = 0
    slowed_writes: int = 0
    stalled_writes: int = 0
    failed_flushes: int = 0
    failed_compactions: int = 0
    damaged_tables: int = 0  # found by a read, a merge or a scrub
    failures: dict[str, str] = field(default_factory=dict)
    """Why a flush or a compaction failed, of those that nothing has mended since."""

    @property
    def last_failure(self) -> str:
        return "; ".join(f"{job}: {why}" for job, why in self.failures.items())


_FIGURES: Final = (
    "memtable_bytes",
    "sealed_memtables",
    "log_bytes",
    "log_syncs",
    "cache_hits",
    "cache_misses",
    "scans",
    "scanned_bytes",
    "unmerged_tables",
)
"""Those of Stats itself that operators see."""


@dataclass(frozen=True, slots=True)
class LevelStats:
    level: int
    tables: int
    size_bytes: int
    raw_bytes: int
    entries: int
    tombstones: int


@dataclass(frozen=True, slots=True)
class Stats:
    sequence: int
    synced_sequence: int
    memtable_bytes: int
    memtable_keys: int
    sealed_memtables: int
    log_bytes: int
    log_syncs: int
    cache_hits: int
    cache_misses: int
    scans: int
    scanned_bytes: int
    snapshots: int
    corrupt_ranges: int
    unmerged_tables: int  # that wait for compaction
    counters: EngineCounters
    has_failed: bool = False  # no write is taken until the engine is opened again
    free_bytes: int | None = None  # where it lies; None while the system cannot tell
    levels: list[LevelStats] = field(default_factory=list)

    def figures(self) -> dict[str, int]:
        """Figures for operators, by name; counts start when the engine is opened."""
        counters = asdict(self.counters)
        del counters["failures"]
        own = {name: getattr(self, name) for name in _FIGURES}
        return {**counters, **own, "table_bytes": self.table_bytes}

    @property
    def table_bytes(self) -> int:
        return sum(level.size_bytes for level in self.levels)


def take_stats(
    *,
    sequence: int,
    log: WriteAheadLog,
    memtables: Sequence[Memtable],
    cache: BlockCache,
    reading: Reading,
    snapshots: Snapshots,
    counters: EngineCounters,
    version: Version,
    unmerged: int,
    has_failed: bool,
    free_bytes: int | None,
) -> Stats:
    """The figures of this moment; `memtables` newest first."""
    return Stats(
        sequence=sequence,
        synced_sequence=log.synced_sequence,
        memtable_bytes=memtables[0].size_bytes,
        memtable_keys=len(memtables[0].values),
        sealed_memtables=len(memtables) - 1,
        log_bytes=log.written_bytes,
        log_syncs=log.syncs,
        cache_hits=cache.hits,
        cache_misses=cache.misses,
        scans=reading.scans,
        scanned_bytes=reading.scanned_bytes,
        snapshots=len(snapshots.live()),
        corrupt_ranges=len(version.marks),
        unmerged_tables=unmerged,
        counters=counters,
        has_failed=has_failed,
        free_bytes=free_bytes,
        levels=_level_stats(version),
    )


def _level_stats(version: Version) -> list[LevelStats]:
    """One line for each level that holds a table."""
    return [
        LevelStats(
            level=number,
            tables=len(tables),
            size_bytes=sum(meta.size for meta in tables),
            raw_bytes=sum(meta.raw_bytes for meta in tables),
            entries=sum(meta.entries for meta in tables),
            tombstones=sum(meta.tombstones for meta in tables),
        )
        for number, tables in enumerate(version.levels)
        if tables
    ]
