"""Limits the rate of writers by the number of tables that wait for compaction.  Pure.

Below `slow_at_tables` there is no limit; from there to `stop_at_tables` the rate falls evenly on a
logarithmic scale from the fastest to the slowest; at `stop_at_tables` writers wait.
"""

from __future__ import annotations

from ringmill.cluster.errors import Overloaded
from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.version.version import Version

__all__ = ["overload", "unmerged_tables", "write_rate"]


def unmerged_tables(version: Version, options: EngineOptions) -> int:
    """Number of tables that wait for compaction: those in level 0, or the small ones if all are in level
    0."""
    if options.strategy == "leveled":
        return len(version.levels[0])
    return sum(1 for meta in version.levels[0] if meta.size < 2 * options.memtable_bytes)


def write_rate(tables: int, options: EngineOptions) -> float | None:
    """Bytes per second that may be applied; None means no limit, 0 means that writers wait."""
    if tables < options.slow_at_tables:
        return None
    if tables >= options.stop_at_tables:
        return 0.0
    share = (tables - options.slow_at_tables + 1) / (options.stop_at_tables - options.slow_at_tables + 1)
    ratio = options.slowest_bytes_per_s / options.fastest_bytes_per_s
    return float(options.fastest_bytes_per_s * ratio**share)


def overload(memtable_bytes: int) -> Overloaded:
    """The error for a writer that did not wait."""
    return Overloaded(
        f"the memtable holds {memtable_bytes} bytes, twice its size, and a flush is under way",
        detail={"retry_after": 0.1},
        hint="await wait_writable() before applying more",
    )
