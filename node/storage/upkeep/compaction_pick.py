"""Picks the tables to compact next: pure functions of a version.

Leveled: level 0 holds flushed tables, and every deeper level is `level_growth` times larger than the one
above. The level that is furthest over its size gives a table to the next.  A table that overlaps nothing
there moves without being rewritten; one that overlaps too much is cut first.  Size-tiered and time-window
keep all tables in level 0, where their sequence ranges are disjoint, and compact neighbours.  When no level
is over its size, deletions and dropped prefixes are removed.

Picks are made on the event loop, so what lies below a table is found by bisection, never by a look at all.

The ideas are LevelDB's, RocksDB's and Cassandra's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from enum import Enum, auto
from heapq import heapify, heappop
from itertools import chain, groupby, islice
from typing import Final

from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.version.table_ranges import (
    LARGEST,
    SMALLEST,
    holders,
    holders_in,
    outer_range,
    overlapping,
)
from ringmill.node.storage.version.version import LEVELS, Drop, Version

__all__ = [
    "CompactionPick",
    "RangePicks",
    "SpaceRule",
    "Situation",
    "level_below_all",
    "older_ranges",
    "pick_damaged",
    "pick_compaction",
    "useless_tables",
]

_TOMBSTONE_SHARE: Final = 0.25  # near Cassandra's tombstone_threshold of 0.2; chosen, not measured
_TIER_TABLES: Final = 4  # these two as Cassandra's min_threshold and max_threshold
_TIER_MOST: Final = 32
_MISSED_SHARE: Final = 4
"""A table sinks once the blocks read in vain are this many times its size.

Sinking reads and writes the table with what it meets below, so it has to save more than one reading of the
table.  LevelDB's allowed_seeks is the model; the number is chosen, not measured.
"""
_FEW_TABLES: Final = 1024  # are never joined: what counts is that each takes a file descriptor
_MANY_TABLES: Final = 8192  # are joined whatever else the node does
_FULL_SHARE: Final = 0.75  # of the size of a table: no more are joined where they have as much on average


class SpaceRule(Enum):
    """What has to be free before tables are merged (rule E12)."""

    SPARE = auto()  # as much as the input has, beside the space of logs and control state
    BARE = auto()  # as much as the input has, while space is short
    ANY = auto()


@dataclass(frozen=True, slots=True)
class CompactionPick:
    """Merge `runs` (newest first; the tables of a run are disjoint and in key order) into `target_level`."""

    target_level: int
    runs: tuple[tuple[TableMeta, ...], ...]
    is_move: bool = False  # nothing to rewrite: the tables only change their level
    why: str = ""
    cuts: tuple[bytes, ...] = ()  # a table of the output ends before each of these keys
    can_wait: bool = False  # it returns space or saves reads, and no write is held up without it
    space: SpaceRule = SpaceRule.SPARE
    is_least: bool = False  # writers wait for it, and no smaller one could help them

    @property
    def inputs(self) -> list[TableMeta]:
        return [meta for run in self.runs for meta in run]

    @property
    def input_bytes(self) -> int:
        return _bytes(self.inputs)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a pick has to consider besides the version."""

    oldest_snapshot: int | None = None
    purged: Mapping[int, int] | None = None  # drops up to this sequence were applied to a table, by file id
    missed_reads: Mapping[int, int] | None = None  # reads that found nothing in a table, by file id
    aside: Set[int] = frozenset()  # tables of a merge that failed, by file id: others go first


def pick_compaction(
    version: Version,
    options: EngineOptions,
    situation: Situation,
    may_run: Callable[[CompactionPick], bool] = lambda _: True,
) -> CompactionPick | None:
    """The most urgent compaction that `may_run`, or None when none is worthwhile.

    Where none has space to spare they come once more, as what merges give back may be all that helps (E11).
    """
    by_size = {"leveled": _by_level, "size_tiered": _by_tier, "time_window": _by_window}[options.strategy]

    picks = chain(
        by_size(version, options),
        _dropped(version, situation),
        _tombstones(version, options, situation),
        _missed(version, options, situation),
    )
    refused: list[CompactionPick] = []
    for pick in picks:
        if may_run(pick):
            return pick
        refused.append(pick)
    joining = islice(_joining(version, options), 4)  # never in need: they give no space back
    return next(filter(may_run, chain(map(_in_need, refused), joining)), None)


def useless_tables(version: Version, situation: Situation) -> list[TableMeta]:
    """Tables that hold only dropped keys: they can be deleted without being read."""

    dropped: dict[bytes, int] = {}  # by prefix, up to which sequence
    for drop in version.drops:
        if not _is_seen(drop, situation):
            dropped[drop.prefix] = max(drop.sequence, dropped.get(drop.prefix, 0))
    sizes = sorted({len(prefix) for prefix in dropped})

    def is_useless(meta: TableMeta) -> bool:
        return any(
            meta.last_sequence <= dropped.get(meta.smallest[:size], -1)
            and meta.smallest[:size] == meta.largest[:size]
            for size in sizes
        )

    return [meta for meta in version.tables() if is_useless(meta)] if dropped else []


def pick_damaged(
    version: Version,
    file_ids: Iterable[int],
    may_run: Callable[[CompactionPick], bool] = lambda _: True,
) -> CompactionPick | None:
    """Rewrite a damaged table in its level: good blocks are kept, the rest becomes a mark."""
    wanted = set(file_ids)
    for level, tables in enumerate(version.levels):
        for meta in tables:
            if meta.file_id in wanted:
                pick = CompactionPick(level, ((meta,),), why="damage")
                if may_run(pick):
                    return pick
    return None


class RangePicks:
    """The compactions one by one that bring all tables of [start, end) into one level (rule E12).

    With levels, each table sinks as in `pick_compaction`: level by level, table by table.  One with too much
    below it, as it spans many keys, is cut first, so that none is larger than an ordinary compaction.  Tables
    that lie deepest already are rewritten where they hold garbage.  What is flushed after `version` is left
    out.  Without levels there is one pick, of all.
    """

    def __init__(self, version: Version, start: bytes, end: bytes | None, options: EngineOptions) -> None:
        self._start = start
        self._end = end
        self._options = options
        self._flushed_sequence = version.flushed_sequence
        self._newest_id = max((meta.file_id for meta in version.tables()), default=0)
        self._deepest = max(
            (level for level in range(1, LEVELS) if any(map(self._is_within, version.levels[level]))),
            default=1,
        )
        self._level = 0
        self._passed: set[int] = set()  # files that were picked in level 0, or to be cut
        self._from = b""  # tables of a deeper level that begin before were picked

    def following(self, version: Version) -> CompactionPick | None:
        """The next one, or None when there is none.  Each table is picked once, whatever comes of it."""
        if self._options.strategy != "leveled":
            return self._all(version)
        while self._level <= self._deepest:
            pick = self._sinking(version) if self._level < self._deepest else self._garbage(version)
            if pick is not None:
                return replace(pick, why="range", is_move=pick.is_move and pick.target_level < self._deepest)
            self._level += 1
            self._from = b""
        return None

    def _sinking(self, version: Version) -> CompactionPick | None:
        if self._level:
            return self._sinking_deep(version)
        former = [meta for meta in version.levels[0] if meta.first_sequence <= self._flushed_sequence]
        waiting = [meta for meta in former if self._is_within(meta) and meta.file_id not in self._passed]
        if not waiting:
            return None
        pick = _sink_level0(version, former, waiting[-1])
        self._passed.update(meta.file_id for meta in pick.inputs)
        return pick

    def _sinking_deep(self, version: Version) -> CompactionPick | None:
        while (chosen := self._next(version)) is not None:
            pick = _sink(version, self._level, chosen)
            cuts = _cuts(pick.inputs[1:], self._options.level1_bytes)
            if not cuts:
                return pick
            if chosen.file_id not in self._passed:
                self._passed.add(chosen.file_id)
                self._from = chosen.smallest  # its pieces are next
                return CompactionPick(self._level, ((chosen,),), cuts=cuts)
        return None

    def _garbage(self, version: Version) -> CompactionPick | None:
        """A table of the deepest level that holds what nobody needs, and was not made by one of these."""
        tables = version.levels[self._level]
        dropped = {meta.file_id for drop in version.drops for meta in holders_in(tables, drop)}
        for chosen in islice(tables, self._place(tables), None):
            if not self._is_within(chosen):
                break
            has_garbage = chosen.tombstones or chosen.has_versions or chosen.file_id in dropped
            if chosen.file_id <= self._newest_id and has_garbage:
                self._from = chosen.largest + b"\0"
                return CompactionPick(self._level, ((chosen,),))
        return None

    def _next(self, version: Version) -> TableMeta | None:
        tables = version.levels[self._level]
        place = self._place(tables)
        if place == len(tables) or not self._is_within(tables[place]):
            return None
        self._from = tables[place].largest + b"\0"
        return tables[place]

    def _place(self, tables: Sequence[TableMeta]) -> int:
        """Of the first table of a deeper level that is in the range and was not picked."""
        first = bisect_left(tables, self._start, key=LARGEST)
        return bisect_left(tables, self._from, lo=first, key=SMALLEST)

    def _all(self, version: Version) -> CompactionPick | None:
        """All that overlap, and what overlaps one of these, into the deepest level among theirs."""
        chosen = list(filter(self._is_within, version.tables()))
        if self._passed or not chosen:
            return None
        self._passed = {meta.file_id for meta in _overlap_closure(version.tables(), chosen)}
        levels = [tuple(meta for meta in level if meta.file_id in self._passed) for level in version.levels]
        runs = (*((meta,) for meta in levels[0]), *filter(None, levels[1:]))
        return CompactionPick(max(level for level in range(LEVELS) if levels[level]), runs, why="range")

    def _is_within(self, meta: TableMeta) -> bool:
        return meta.largest >= self._start and (self._end is None or meta.smallest < self._end)


def older_ranges(version: Version, pick: CompactionPick) -> list[tuple[bytes, bytes]]:
    """Key ranges in which tables outside the pick may hold versions older than its own."""
    inputs = pick.inputs
    ids = {meta.file_id for meta in inputs}
    newest = max(meta.last_sequence for meta in inputs)
    low, high = outer_range(inputs)
    return [
        (meta.smallest, meta.largest)
        for meta in version.all_tables()
        if meta.file_id not in ids and meta.first_sequence < newest and meta.overlaps(low, high)
    ]


def level_below_all(version: Version, meta: TableMeta, options: EngineOptions) -> int | None:
    """Where a table belongs whose versions are older than all others of its keys (rule E9).

    It is the deepest level in use, or one below where that is full or holds keys of the table's range.  None:
    there is no such level.
    """
    if options.strategy != "leveled":
        return None
    deepest = version.deepest
    for level in range(deepest, LEVELS):
        tables = version.levels[level]
        has_space = level == LEVELS - 1 or _score(level, (*tables, meta), options) <= 1
        if has_space and not overlapping(tables, meta.smallest, meta.largest):
            return level
    return None


def _by_level(version: Version, options: EngineOptions) -> Iterator[CompactionPick]:
    scores = [_score(level, tables, options) for level, tables in enumerate(version.levels[:-1])]
    for level in sorted(range(len(scores)), key=lambda level: (-scores[level], level)):
        if scores[level] < 1:
            return
        if level == 0:
            yield from _down_from_level0(version)
            continue
        costs = [(*_cost(version.levels[level + 1], meta), meta) for meta in version.levels[level]]
        heapify(costs)  # mostly the first one is all that is wanted
        while costs:
            yield _sink_in_pieces(version, level, heappop(costs)[-1], options)


def _down_from_level0(version: Version) -> Iterator[CompactionPick]:
    """The oldest table with all that overlap it, or alone, which takes less space."""
    tables = version.levels[0]
    yield _sink_level0(version, tables, tables[-1])
    yield replace(_sink_level0(version, tables[-1:], tables[-1]), is_least=True)


def _in_need(pick: CompactionPick) -> CompactionPick:
    return replace(pick, space=SpaceRule.ANY if pick.is_least else SpaceRule.BARE)


def _cost(next_level: Sequence[TableMeta], meta: TableMeta) -> tuple[float, float, int]:
    """Bytes of the next level to rewrite per byte of the table; among equals more deletions come first."""
    below = _bytes(overlapping(next_level, meta.smallest, meta.largest))
    return below / meta.size, -meta.tombstones / meta.entries, meta.file_id


def _score(level: int, tables: Sequence[TableMeta], options: EngineOptions) -> float:
    if not level:
        return len(tables) / options.level0_tables
    return _bytes(tables) / (options.level1_bytes * float(options.level_growth) ** (level - 1))


def _sink_level0(version: Version, tables: Sequence[TableMeta], oldest: TableMeta) -> CompactionPick:
    """One of these tables of level 0 with all of them that overlap it, so that nothing newer sinks below
    something older."""
    chosen = _overlap_closure(tables, [oldest])
    below = overlapping(version.levels[1], *outer_range(chosen))
    runs = tuple((meta,) for meta in chosen) + ((below,) if below else ())
    return CompactionPick(1, runs, is_move=_may_move(version, 1, runs), why="level 0")


def _overlap_closure(tables: Sequence[TableMeta], chosen: list[TableMeta]) -> list[TableMeta]:
    """These tables, with all that overlap one of them, directly or through others."""
    while True:
        low, high = outer_range(chosen)
        grown = [meta for meta in tables if meta.overlaps(low, high)]
        if len(grown) == len(chosen):
            return grown
        chosen = grown


def _sink(version: Version, level: int, chosen: TableMeta) -> CompactionPick:
    below = overlapping(version.levels[level + 1], chosen.smallest, chosen.largest)
    runs = ((chosen,), below) if below else ((chosen,),)
    return CompactionPick(level + 1, runs, is_move=_may_move(version, level + 1, runs), why=f"level {level}")


def _sink_in_pieces(
    version: Version, level: int, chosen: TableMeta, options: EngineOptions
) -> CompactionPick:
    """Sink a table by one level.  One with too much below it is cut first, and its pieces sink (rule E12)."""
    pick = _sink(version, level, chosen)
    cuts = _cuts(pick.inputs[1:], options.level1_bytes)
    return CompactionPick(level, ((chosen,),), cuts=cuts, why=pick.why) if cuts else pick


def _cuts(below: Sequence[TableMeta], most_bytes: int) -> tuple[bytes, ...]:
    """Where to cut a table that lies above these, so that each piece meets no more than so much of them."""
    cuts, size_bytes = list[bytes](), 0
    for meta in below:
        size_bytes += meta.size
        if size_bytes > most_bytes and size_bytes > meta.size:
            cuts.append(meta.smallest)
            size_bytes = meta.size
    return tuple(cuts)


def _may_move(version: Version, target: int, runs: tuple[tuple[TableMeta, ...], ...]) -> bool:
    """Whether a pick is one table without overlap; one with deletions and nothing below is rewritten
    instead."""
    if len(runs) != 1 or len(runs[0]) != 1:
        return False
    meta = runs[0][0]
    deeper = any(overlapping(level, meta.smallest, meta.largest) for level in version.levels[target + 1 :])
    return not meta.tombstones or deeper


def _by_tier(version: Version, _: EngineOptions) -> Iterator[CompactionPick]:
    return _neighbours(version.levels[0])


def _neighbours(tables: Sequence[TableMeta]) -> Iterator[CompactionPick]:
    """At least four tables in a row of about one size; the smallest such row first."""
    rows = []
    for first in range(len(tables)):
        total = 0
        for last in range(first, min(len(tables), first + _TIER_MOST)):
            total += tables[last].size
            row = tables[first : last + 1]
            average = total / len(row)
            if len(row) >= _TIER_TABLES and all(average / 2 <= meta.size <= average * 1.5 for meta in row):
                rows.append((average, -len(row), first))
    for _, length, first in sorted(rows):
        yield CompactionPick(0, tuple((meta,) for meta in tables[first : first - length]), why="tier")


def _by_window(version: Version, options: EngineOptions) -> Iterator[CompactionPick]:
    """Tables of one past window become one; those of the newest window are merged by size."""

    def window(meta: TableMeta) -> int:
        return meta.last_sequence // options.time_window_sequences

    windows = [list(group) for _, group in groupby(version.levels[0], key=window)]
    for past in reversed(windows[1:]):
        if len(past) > 1:
            yield CompactionPick(0, tuple((meta,) for meta in past), why="window")
    if windows:
        yield from _neighbours(windows[0])


def _dropped(version: Version, situation: Situation) -> Iterator[CompactionPick]:
    """A table that still holds keys of a dropped prefix."""
    purged = situation.purged or {}
    for drop in version.drops:
        if _is_seen(drop, situation):
            continue
        for level, meta in holders(version, drop):
            if purged.get(meta.file_id, 0) < drop.sequence:
                yield CompactionPick(level, ((meta,),), why="drop", can_wait=True)


def _tombstones(version: Version, options: EngineOptions, situation: Situation) -> Iterator[CompactionPick]:
    """The table with the largest share of deletions, one level deeper, where what they delete lies."""

    def share(meta: TableMeta) -> float:
        return meta.tombstones / meta.entries

    def is_free(meta: TableMeta) -> bool:
        return situation.oldest_snapshot is None or meta.last_sequence <= situation.oldest_snapshot

    for level, tables in enumerate(version.levels[:-1]):
        free = [meta for meta in tables if is_free(meta) and meta.file_id not in situation.aside]
        worst = max(free, key=share, default=None)
        if worst is None or share(worst) < _TOMBSTONE_SHARE or not _has_older(version, worst):
            continue
        if level:
            yield replace(_sink_in_pieces(version, level, worst, options), can_wait=True)
        else:
            yield replace(_sink_level0(version, tables, tables[-1]), can_wait=True)


def _missed(version: Version, options: EngineOptions, situation: Situation) -> Iterator[CompactionPick]:
    """A table where many reads found nothing moves down, so that later reads ask one table less."""
    missed = situation.missed_reads or {}
    if options.strategy != "leveled":
        return
    for level, tables in enumerate(version.levels[1:-1], start=1):
        for meta in tables:
            if missed.get(meta.file_id, 0) * options.block_bytes > _MISSED_SHARE * meta.size and any(
                overlapping(deeper, meta.smallest, meta.largest) for deeper in version.levels[level + 1 :]
            ):
                yield replace(_sink_in_pieces(version, level, meta, options), can_wait=True)


def _joining(version: Version, options: EngineOptions) -> Iterator[CompactionPick]:
    """Neighbours in the deepest level that fit into one table: those of moves are small (rule E9)."""
    level = version.deepest
    tables, size = version.levels[level], options.joined_prefix_bytes
    few = max(_FEW_TABLES, _bytes(tables) / options.table_bytes / _FULL_SHARE)
    if not size or len(tables) <= few:
        return
    row, total = [tables[0]], tables[0].size
    for meta in (*tables[1:], None):
        belongs = meta is not None and meta.largest[:size] == row[0].smallest[:size]
        if meta is not None and belongs and total + meta.size <= options.table_bytes:
            row.append(meta)
            total += meta.size
            continue
        if len(row) > 2 and total >= max(options.table_bytes / 2, 2 * max(each.size for each in row)):
            can_wait = len(tables) < _MANY_TABLES
            yield CompactionPick(level, (tuple(row),), why="small", can_wait=can_wait)
        if meta is not None:
            row, total = [meta], meta.size


def _has_older(version: Version, meta: TableMeta) -> bool:
    """Whether an older table may hold something that this one's deletions hide."""
    return any(
        other.overlaps(meta.smallest, meta.largest)
        for other in version.tables()
        if other.first_sequence < meta.last_sequence and other.file_id != meta.file_id
    )


def _is_seen(drop: Drop, situation: Situation) -> bool:
    """Whether a snapshot can still see what was dropped."""
    return situation.oldest_snapshot is not None and situation.oldest_snapshot < drop.sequence


def _bytes(tables: Sequence[TableMeta]) -> int:
    return sum(meta.size for meta in tables)
