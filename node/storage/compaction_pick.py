"""Which tables to merge next: pure functions of a version.

Leveled: level 0 holds what was flushed, every deeper level is `level_growth` times larger than the one
above; the level furthest over its size gives a table to the next.  A table that meets nothing there moves
without rewriting. The idea is LevelDB's and RocksDB's; scores and choices are spelled out in
docs/architecture.md, "Storage".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node.storage.options import Options
from node.storage.table_format import TableMeta
from node.storage.version import LEVELS, Version

__all__ = ["Pick", "level_target_bytes", "older_ranges", "pick_leveled"]


@dataclass(frozen=True, slots=True)
class Pick:
    """Merge `runs` (newest first; the tables of a run are disjoint and in key order) into `target_level`."""

    target_level: int
    runs: tuple[tuple[TableMeta, ...], ...]
    is_move: bool = False  # nothing to merge: the tables only change their level

    @property
    def inputs(self) -> list[TableMeta]:
        return [meta for run in self.runs for meta in run]


def pick_leveled(version: Version, options: Options) -> Pick | None:
    """The most urgent merge, or None when every level is within its size."""
    scores = [
        (
            len(tables) / options.level0_tables if not level else _bytes(tables) / _target(level, options),
            level,
        )
        for level, tables in enumerate(version.levels[:-1])
    ]
    score, level = max(scores, key=lambda scored: (scored[0], -scored[1]))
    if score < 1:
        return None
    return _pick_level0(version) if level == 0 else _pick_deeper(version, level)


def level_target_bytes(level: int, options: Options) -> int:
    """The size at which a level below 0 begins to give tables away."""
    return _target(level, options)


def older_ranges(version: Version, pick: Pick) -> list[tuple[bytes, bytes]]:
    """Key ranges in which tables outside the pick may hold versions older than its own."""
    inputs = pick.inputs
    ids = {meta.file_id for meta in inputs}
    newest = max(meta.last_sequence for meta in inputs)
    low, high = _range(inputs)
    return [
        (meta.smallest, meta.largest)
        for meta in version.tables()
        if meta.file_id not in ids and meta.first_sequence < newest and meta.overlaps(low, high)
    ]


def _pick_level0(version: Version) -> Pick:
    """The oldest table with all that overlaps it, so that nothing newer sinks below something older."""
    chosen = [version.levels[0][-1]]
    while True:
        low, high = _range(chosen)
        grown = [meta for meta in version.levels[0] if meta.overlaps(low, high)]
        if len(grown) == len(chosen):
            break
        chosen = grown
    below = _overlapping(version.levels[1], *_range(chosen))
    runs = [(meta,) for meta in chosen]
    return Pick(1, tuple(runs) + ((below,) if below else ()), is_move=len(chosen) == 1 and not below)


def _pick_deeper(version: Version, level: int) -> Pick:
    """The table that rewrites the least of the next level for its size; the most deleted one of equals."""

    def cost(meta: TableMeta) -> tuple[float, float, int]:
        below = _bytes(_overlapping(version.levels[level + 1], meta.smallest, meta.largest))
        return below / meta.size, -meta.tombstones / meta.entries, meta.file_id

    chosen = min(version.levels[level], key=cost)
    below = _overlapping(version.levels[level + 1], chosen.smallest, chosen.largest)
    return Pick(level + 1, ((chosen,), below) if below else ((chosen,),), is_move=not below)


def _target(level: int, options: Options) -> int:
    return options.level1_bytes * int(options.level_growth ** min(level - 1, LEVELS))


def _overlapping(tables: Sequence[TableMeta], low: bytes, high: bytes) -> tuple[TableMeta, ...]:
    return tuple(meta for meta in tables if meta.overlaps(low, high))


def _range(tables: Sequence[TableMeta]) -> tuple[bytes, bytes]:
    return min(meta.smallest for meta in tables), max(meta.largest for meta in tables)


def _bytes(tables: Sequence[TableMeta]) -> int:
    return sum(meta.size for meta in tables)
