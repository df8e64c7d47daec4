"""The options of an engine.  Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringmill.cluster.errors import InvalidArgument

__all__ = ["COMPRESSIONS", "SORTED_AT_ONCE", "STRATEGIES", "EngineOptions"]

COMPRESSIONS: Final = ("none", "zstd", "lz4")
STRATEGIES: Final = ("leveled", "size_tiered", "time_window")

MIB: Final = 1 << 20
SORTED_AT_ONCE: Final = 4096  # takes about a millisecond
_AT_LEAST_1: Final = (
    "memtable_bytes",
    "memtable_records",
    "block_bytes",
    "table_bytes",
    "level1_bytes",
    "level0_tables",
    "sorted_at_once",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Sizes in bytes.  The defaults suit a machine with 2 GiB of memory; NodeOptions.within has smaller
    ones."""

    memtable_bytes: int = 32 * MIB  # of log, that is keys, values and 11 bytes a record
    memtable_records: int = 1 << 30
    """Whichever comes first: each takes some 260 bytes of memory beside its key and value."""

    block_bytes: int = 4096  # at which a data block ends, before compression
    compression: str = "zstd"
    filter_bits_per_key: int = 12
    block_cache_bytes: int = 64 * MIB
    table_bytes: int = 32 * MIB
    strategy: str = "leveled"  # as at every node: rules E9 and E12 need levels
    level0_tables: int = 4  # compaction starts at this many tables in level 0
    level1_bytes: int = 128 * MIB
    level_growth: int = 10
    time_window_sequences: int = 1 << 20  # width of a window of the time_window strategy, in batches
    joined_prefix_bytes: int = 0
    """Small neighbours in the deepest level become one table where their keys share as many first bytes; 0
    joins none.  Nobody may bring a table of keys between theirs: it would find no place (rule E9)."""

    slow_at_tables: int = 8  # writers are slowed down at this many tables in level 0
    stop_at_tables: int = 16  # writers wait at this many tables in level 0
    slowest_bytes_per_s: int = 1 * MIB
    fastest_bytes_per_s: int = 64 * MIB
    compaction_bytes_per_s: int = 0  # most that a compaction reads, and so writes; 0 means no limit
    reserve_bytes: int = 64 * MIB  # free space that only control state may use
    sync_turns: int = 0  # of the event loop that a sync leaves to others, who may add to it
    sorted_at_once: int = SORTED_AT_ONCE  # keys of a memtable that a scan sorts before others have their turn

    def __post_init__(self) -> None:
        if self.compression not in COMPRESSIONS:
            raise InvalidArgument(f"compression {self.compression!r} is not one of {', '.join(COMPRESSIONS)}")
        if self.strategy not in STRATEGIES:
            raise InvalidArgument(f"strategy {self.strategy!r} is not one of {', '.join(STRATEGIES)}")
        if not 0 < self.slow_at_tables <= self.stop_at_tables:
            raise InvalidArgument(
                f"slow_at_tables {self.slow_at_tables} must lie in 1..stop_at_tables {self.stop_at_tables}"
            )
        for name in _AT_LEAST_1:
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name} is {getattr(self, name)}, at least 1 is needed")
