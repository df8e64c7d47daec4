"""Counts of what an engine did since it was opened, and the shape it is in.  Values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from node.storage.version import Version

__all__ = ["Counters", "LevelStats", "Stats", "level_stats"]


@dataclass(slots=True)
class Counters:
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
    last_failure: str = ""


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
    snapshots: int
    corrupt_ranges: int
    counters: Counters
    levels: list[LevelStats] = field(default_factory=list)

    @property
    def table_bytes(self) -> int:
        return sum(level.size_bytes for level in self.levels)


def level_stats(version: Version) -> list[LevelStats]:
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
