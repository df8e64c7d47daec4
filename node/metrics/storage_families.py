"""Metrics of the storage engine and the disk that it is on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ringmill.cluster.meters.family import Family, by_label, counter, gauge, histogram
from ringmill.node.assembly import Node
from ringmill.node.metrics.process_meters import ProcessMeters
from ringmill.node.storage.upkeep.stats import Stats

__all__ = ["storage_families"]

_COUNTED: Final = {
    "flushes": ("flushes_total", "Memtables written as tables"),
    "flushed_bytes": ("flushed_bytes_total", "Bytes of tables that flushes wrote"),
    "compactions": ("compactions_total", "Merges of tables that have ended"),
    "compaction_read_bytes": ("compaction_read_bytes_total", "Bytes that compactions read"),
    "compaction_written_bytes": ("compaction_written_bytes_total", "Bytes that compactions wrote"),
    "failed_flushes": ("flush_failures_total", "Flushes that failed"),
    "failed_compactions": ("compaction_failures_total", "Compactions that failed"),
    "slowed_writes": ("slowed_writes_total", "Batches slowed down as compaction is behind"),
    "stalled_writes": ("stalled_writes_total", "Batches that waited for a flush or a compaction"),
    "damaged_tables": ("damaged_tables_total", "Tables in which damage was found"),
    "log_syncs": ("log_syncs_total", "Syncs of the write-ahead log"),
    "log_bytes": ("log_bytes_total", "Bytes appended to the write-ahead log"),
    "cache_hits": ("block_cache_hits_total", "Blocks found in the cache"),
    "cache_misses": ("block_cache_misses_total", "Blocks read from the disk"),
    "scans": ("scans_total", "Scans of the engine, for whatever reason"),
    "scanned_bytes": ("scanned_bytes_total", "Bytes that scans read"),
}


def storage_families(node: Node, meters: ProcessMeters | None) -> Iterator[Family]:
    engine, objects = node.replica.engine, node.replica.objects
    stats = engine.stats()
    figures = stats.figures()
    for name, (total, text) in _COUNTED.items():
        yield counter(total, text, figures[name])
    yield from _shape(stats)
    yield gauge("compaction_waiting_tables", "Tables that wait for compaction", stats.unmerged_tables)
    if meters is not None:
        yield histogram(
            "log_sync_duration_seconds",
            "How long appending to a log and syncing it took; also the manifest's and the identity's",
            meters.sync_times,
        )
    yield gauge("keys", "Keys that this node holds a copy of", max(0, objects.keys))
    yield gauge("objects_bytes", "Bytes of keys and objects that this node holds", max(0, objects.size_bytes))
    yield gauge("tombstones", "Deleted keys that are not forgotten yet", objects.dead.total)
    yield gauge(
        "damaged_ranges", "Key ranges that wait to be healed from other owners", len(engine.corrupt_ranges())
    )
    yield gauge("read_only", "1 while the store takes no writes", float(bool(engine.read_only_reason)))
    yield gauge(
        "store_failed",
        "1 once a write or sync of its log failed: the store takes no writes until the node is started again",
        float(stats.has_failed),
    )
    yield gauge("disk_free_bytes", "Bytes that are free where the data folder is", stats.free_bytes)


def _shape(stats: Stats) -> Iterator[Family]:
    yield gauge("memtable_bytes", "Bytes in the memtable", stats.memtable_bytes)
    yield gauge("sealed_memtables", "Memtables that wait to be flushed", stats.sealed_memtables)
    tables = {str(level.level): float(level.tables) for level in stats.levels}
    sizes = {str(level.level): float(level.size_bytes) for level in stats.levels}
    yield by_label("gauge", "tables", "Tables of the store, by level", "level", tables)
    yield by_label("gauge", "tables_bytes", "Bytes of tables, by level", "level", sizes)
