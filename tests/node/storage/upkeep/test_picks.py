"""Which tables are merged next: decided from the version alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, cast

import pytest

from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.read.drop_index import NO_DROPS
from ringmill.node.storage.read.scan import Range, _TableRun
from ringmill.node.storage.table.block import cell_of
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.table.table_reader import Table
from ringmill.node.storage.upkeep import compaction_pick
from ringmill.node.storage.upkeep.back_pressure import write_rate
from ringmill.node.storage.upkeep.compaction_child import CompactionJob, _forgets, _merge_versions
from ringmill.node.storage.upkeep.compaction_pick import (
    RangePicks,
    Situation,
    SpaceRule,
    older_ranges,
    pick_compaction,
    useless_tables,
)
from ringmill.node.storage.upkeep.table_shape import table_shape
from ringmill.node.storage.version.table_ranges import (
    around,
    drops_within,
    may_hold,
    outer_range,
    overlapping,
)
from ringmill.node.storage.version.version import (
    Drop,
    MalformedEdit,
    Version,
    VersionEdit,
    decode_edit,
    encode_edit,
    snapshot_edit,
)

OPTIONS = EngineOptions(level0_tables=4, level1_bytes=1000, level_growth=10)
NOBODY = Situation()


def table(file_id: int, span: str, *, size: int = 100, sequence: int = 0, tombstones: int = 0) -> TableMeta:
    low, high = span.split("-")
    last = sequence or file_id * 10
    return TableMeta(
        file_id, size, low.encode(), high.encode(), last - 9, last, 10, tombstones, False, 2 * size
    )


def version(*levels: list[TableMeta]) -> Version:
    added = tuple((number, meta) for number, metas in enumerate(levels) for meta in metas)
    return Version().apply(VersionEdit(added=added))


def test_nothing_is_merged_while_every_level_is_within_its_size() -> None:
    calm = version([table(9, "a-z"), table(8, "a-z")], [table(1, "a-m", size=500), table(2, "n-z", size=400)])
    assert pick_compaction(calm, OPTIONS, NOBODY) is None


def test_four_overlapping_tables_sink_together_with_what_lies_below() -> None:
    full = version(
        [table(n, "a-m") for n in (9, 8, 7, 6)], [table(1, "a-f"), table(2, "g-p"), table(3, "q-z")]
    )
    pick = pick_compaction(full, OPTIONS, NOBODY)
    assert pick is not None
    assert [[meta.file_id for meta in run] for run in pick.runs] == [[9], [8], [7], [6], [1, 2]]
    assert (pick.target_level, pick.is_move, pick.can_wait) == (1, False, False)


def test_a_table_that_meets_nothing_moves() -> None:
    rows = version([table(9, "x-z"), table(8, "u-w"), table(7, "r-t"), table(6, "o-q")], [table(1, "a-n")])
    pick = pick_compaction(rows, OPTIONS, NOBODY)
    assert pick is not None
    assert pick.is_move
    assert [meta.file_id for meta in pick.inputs] == [6]


def test_a_level_over_its_size_gives_the_table_that_rewrites_least() -> None:
    over = version(
        [],
        [table(3, "a-f", size=600), table(4, "g-z", size=600)],
        [table(1, "a-f", size=900), table(2, "g-z", size=300)],
    )
    pick = pick_compaction(over, OPTIONS, NOBODY)
    assert pick is not None
    assert [meta.file_id for meta in pick.inputs] == [4, 2]


def test_deletions_are_worked_off_when_nothing_else_is_urgent() -> None:
    deleted = version([table(9, "a-z", tombstones=5)], [], [table(1, "a-z")])
    pick = pick_compaction(deleted, OPTIONS, NOBODY)
    assert pick is not None
    assert pick.target_level == 1
    assert pick.can_wait
    assert pick_compaction(deleted, OPTIONS, Situation(oldest_snapshot=3)) is None


def test_a_dropped_table_goes_without_being_read_unless_a_snapshot_sees_it() -> None:
    dropped = version([table(3, "pa-pz"), table(2, "a-z")]).apply(VersionEdit(drops_added=(Drop(b"p", 50),)))
    assert [meta.file_id for meta in useless_tables(dropped, NOBODY)] == [3]
    assert useless_tables(dropped, Situation(oldest_snapshot=40)) == []
    pick = pick_compaction(dropped, OPTIONS, Situation(purged={3: 50}))
    assert pick is not None
    assert [meta.file_id for meta in pick.inputs] == [2]
    assert pick_compaction(dropped, OPTIONS, Situation(purged={2: 50, 3: 50})) is None


def test_tiers_merge_neighbours_of_one_size() -> None:
    tiers = replace(OPTIONS, strategy="size_tiered")
    rows = version(
        [table(9, "a-z"), *(table(n, "a-z", size=40) for n in (8, 7, 6, 5)), table(1, "a-z", size=5000)]
    )
    pick = pick_compaction(rows, tiers, NOBODY)
    assert pick is not None
    assert [meta.file_id for meta in pick.inputs] == [8, 7, 6, 5]
    assert pick.target_level == 0


def test_a_past_window_becomes_one_table() -> None:
    windows = replace(OPTIONS, strategy="time_window", time_window_sequences=100)
    rows = version(
        [table(9, "a-z", sequence=250), table(8, "a-z", sequence=180), table(7, "a-z", sequence=120)]
    )
    pick = pick_compaction(rows, windows, NOBODY)
    assert pick is not None
    assert [meta.file_id for meta in pick.inputs] == [8, 7]


def test_a_range_without_levels_takes_along_what_overlaps_it() -> None:
    rows = version([table(9, "a-d")], [table(3, "c-f"), table(4, "x-z")], [table(1, "e-h")])
    picks = RangePicks(rows, b"a", b"b", replace(OPTIONS, strategy="size_tiered"))
    pick = picks.following(rows)
    assert pick is not None
    assert [meta.file_id for meta in pick.inputs] == [9, 3, 1]
    assert pick.target_level == 2
    assert older_ranges(rows, pick) == []
    assert picks.following(rows) is None


def test_the_tables_of_a_range_sink_one_by_one_to_the_deepest_level() -> None:
    rows = version(
        [table(13, "a-d"), table(12, "k-m"), table(11, "c-f")],
        [table(5, "b-c"), table(6, "e-h"), table(7, "x-z")],
        [table(2, "a-f"), table(3, "g-l", tombstones=3), table(4, "m-n"), table(1, "p-q", tombstones=3)],
    ).apply(VersionEdit(flushed_sequence=130))
    picks, ids, made = RangePicks(rows, b"a", b"o", OPTIONS), list[tuple[int, list[int]]](), 20
    while pick := picks.following(rows):
        ids.append((pick.target_level, [meta.file_id for meta in pick.inputs]))
        low, high = min(m.smallest for m in pick.inputs), max(m.largest for m in pick.inputs)
        whole = table(made, f"{low.decode()}-{high.decode()}", sequence=max(ids[-1][1]) * 10)
        flushed = ((0, table(made + 1, "a-z")),)  # meanwhile, and left out
        rows = rows.apply(VersionEdit(((pick.target_level, whole), *flushed), tuple(ids[-1][1])))
        made += 2
    assert ids == [(1, [13, 11, 5, 6]), (1, [12]), (2, [20, 2, 3]), (2, [22, 24, 4])]
    assert {meta.file_id for level in rows.levels[1:] for meta in level} == {7, 26, 1}


def test_a_table_with_too_much_below_it_is_cut_before_it_sinks() -> None:
    below = [table(n, f"{low}a-{low}z", size=400) for n, low in enumerate("bcdef", 1)]
    rows = version([], [table(9, "a-z")], below)
    picks = RangePicks(rows, b"", None, OPTIONS)  # level 1 has 1000 bytes
    pick = picks.following(rows)
    assert pick is not None and not pick.is_move
    assert (pick.target_level, pick.runs, pick.cuts) == (1, ((table(9, "a-z"),),), (b"da", b"fa"))
    assert picks.following(rows) is None, "it was not cut, as there was no space"

    picks = RangePicks(rows, b"", None, OPTIONS)
    assert picks.following(rows) is not None
    pieces = [table(10, "a-cz", size=40), table(11, "db-ex", size=40), table(12, "fb-z", size=20)]
    rows = rows.apply(VersionEdit(tuple((1, piece) for piece in pieces), (9,)))
    for expected in ([10, 1, 2], [11, 3, 4], [12, 5]):
        pick = picks.following(rows)
        assert pick is not None and [meta.file_id for meta in pick.inputs] == expected


@pytest.mark.parametrize(("tombstones", "missed"), [(5, {}), (0, {9: 1000})])
def test_a_merge_that_can_wait_is_cut_too_and_gives_way_to_others_when_it_fails(
    tombstones: int, missed: dict[int, int]
) -> None:
    below = [table(n, f"{low}a-{low}z", size=400) for n, low in enumerate("bcdef", 1)]
    upper = [table(9, "a-g", tombstones=tombstones), table(8, "za-zz", tombstones=4)]
    rows = version([], upper, [*below, table(7, "zb-zc")])
    pick = pick_compaction(
        rows, OPTIONS, Situation(missed_reads=missed, aside=frozenset() if tombstones else {8})
    )
    assert pick is not None and pick.can_wait and not pick.is_move
    assert (pick.target_level, pick.runs, pick.cuts) == (1, ((upper[0],),), (b"da", b"fa"))
    pick = pick_compaction(rows, OPTIONS, Situation(missed_reads=missed, aside={9}))
    assert pick is not None and [meta.file_id for meta in pick.inputs] == [8, 7]


def test_a_table_of_a_level_over_its_size_is_cut_too_when_much_lies_below_it() -> None:
    below = [table(n, f"{low}a-{low}z", size=400) for n, low in enumerate("bcdef", 1)]
    rows = version([], [table(9, "a-z", size=1100)], below)
    pick = pick_compaction(rows, OPTIONS, NOBODY)
    assert pick is not None and not pick.is_move
    assert (pick.target_level, tuple(pick.inputs), pick.cuts) == (1, rows.levels[1], (b"da", b"fa"))
    assert (pick.space, pick.can_wait) == (SpaceRule.SPARE, False)
    pieces = [table(10, "a-cz", size=400), table(11, "db-ex", size=400), table(12, "fb-z", size=300)]
    rows = rows.apply(VersionEdit(tuple((1, piece) for piece in pieces), (9,)))
    pick = pick_compaction(rows, OPTIONS, NOBODY)
    assert pick is not None and [meta.file_id for meta in pick.inputs] == [12, 5]


def test_the_oldest_flushed_table_sinks_alone_where_there_is_no_space_for_all_that_overlap_it() -> None:
    full = version(
        [table(n, "a-m") for n in (9, 8, 7, 6)], [table(1, "a-f"), table(2, "g-p"), table(3, "q-z")]
    )
    pick = pick_compaction(full, OPTIONS, NOBODY, lambda pick: pick.input_bytes <= 300)
    assert pick is not None and [meta.file_id for meta in pick.inputs] == [6, 1, 2]
    assert older_ranges(full, pick) == []
    pick = pick_compaction(full, OPTIONS, NOBODY, lambda pick: pick.space is SpaceRule.BARE)
    assert pick is not None and [meta.file_id for meta in pick.inputs] == [9, 8, 7, 6, 1, 2]
    pick = pick_compaction(full, OPTIONS, NOBODY, lambda pick: pick.space is SpaceRule.ANY)
    assert pick is not None and [meta.file_id for meta in pick.inputs] == [6, 1, 2], "writers wait for it"


def test_smaller_tiers_are_merged_where_there_is_no_space_for_larger_ones() -> None:
    tiers = replace(OPTIONS, strategy="size_tiered")
    rows = version([table(n, "a-z", size=40) for n in (9, 8, 7, 6, 5)])
    pick = pick_compaction(rows, tiers, NOBODY, lambda pick: pick.input_bytes <= 160)
    assert pick is not None and len(pick.inputs) == 4
    assert pick_compaction(rows, tiers, NOBODY, lambda pick: pick.space is SpaceRule.ANY) is None


def test_what_returns_space_with_space_goes_before_a_level_over_its_size_without() -> None:
    rows = version([], [table(8, "a-c"), table(9, "d-z", size=1100)], [table(1, "a-z", size=900)])
    drop = VersionEdit(drops_added=(Drop(b"a", 500),))
    for edit, expected in (
        (VersionEdit(), ("level 1", SpaceRule.BARE)),
        (drop, ("drop", SpaceRule.SPARE)),
    ):
        pick = pick_compaction(
            rows.apply(edit),
            OPTIONS,
            NOBODY,
            lambda pick: pick.space is SpaceRule.BARE or len(pick.inputs) == 1,
        )
        assert pick is not None and (pick.why, pick.space) == expected


def test_what_lies_deepest_is_rewritten_where_it_holds_garbage() -> None:
    rows = version(
        [], [], [table(1, "a-c"), table(2, "d-f", tombstones=3), table(3, "pa-pz"), table(4, "q-z")]
    ).apply(VersionEdit(drops_added=(Drop(b"p", 50),)))
    picks = RangePicks(rows, b"", None, OPTIONS)
    for file_id in (2, 3):
        pick = picks.following(rows)
        assert pick is not None and not pick.is_move
        assert (pick.target_level, [meta.file_id for meta in pick.inputs]) == (2, [file_id])
    assert picks.following(rows) is None


def test_an_edit_that_makes_a_level_overlap_is_refused() -> None:
    with pytest.raises(MalformedEdit):
        version([], [table(1, "a-m"), table(2, "m-z")])


def test_a_version_survives_its_encoding() -> None:
    full = version([table(9, "a-z")], [table(1, "a-m")]).apply(
        VersionEdit(drops_added=(Drop(b"p", 5),), reserved_ids=7)
    )
    assert Version().apply(decode_edit(encode_edit(snapshot_edit(full)))) == full


def test_the_write_rate_falls_from_none_to_nothing() -> None:
    rates = [write_rate(tables, EngineOptions()) for tables in range(20)]
    assert rates[:8] == [None] * 8
    limited = [rate for rate in rates[8:16] if rate]
    assert limited == sorted(limited, reverse=True)
    assert rates[16:] == [0.0] * 4


class Compared(bytes):
    """A key that counts how often it is compared."""

    times = 0

    def __lt__(self, other: bytes) -> bool:
        Compared.times += 1
        return bytes(self) < bytes(other)

    def __le__(self, other: bytes) -> bool:
        Compared.times += 1
        return bytes(self) <= bytes(other)

    def __gt__(self, other: bytes) -> bool:
        return not self <= other

    def __ge__(self, other: bytes) -> bool:
        return not self < other


def long_level(first: int, tables: int) -> list[TableMeta]:
    keys = [Compared(b"%012d" % (number * 10**9 // tables)) for number in range(2 * tables)]
    rows = enumerate(zip(keys[::2], keys[1::2], strict=True), first)
    return [replace(table(n, "a-z"), smallest=a, largest=b) for n, (a, b) in rows]


def test_a_choice_in_a_large_store_looks_at_few_tables() -> None:
    def level(first: int, tables: int) -> list[TableMeta]:
        return [replace(meta, tombstones=meta.file_id % 3) for meta in long_level(first, tables)]

    large = version([], [], level(1, 100), level(1000, 200), level(2000, 1000))
    options = replace(OPTIONS, level1_bytes=150)  # levels 2 and 3 are over their sizes
    Compared.times = 0
    assert pick_compaction(large, options, NOBODY) is not None
    assert pick_compaction(large, options, NOBODY, lambda _: False) is None
    assert Compared.times < 100_000
    dropped = replace(large, drops=tuple(Drop(b"%06d" % number, 1) for number in range(500)))
    Compared.times = 0
    assert not useless_tables(dropped, NOBODY)
    assert Compared.times == 0


def test_a_range_in_a_large_store_is_passed_over_once() -> None:
    large = version([], [], long_level(1, 1000))
    some = replace(large.levels[2][700], tombstones=1)
    large = large.apply(VersionEdit(added=((2, some),), removed=(some.file_id,)))
    for start, end in ((b"", None), (b"%012d" % 5000, b"%012d" % (19 * 10**8))):
        picks = RangePicks(large, start, end, OPTIONS)
        Compared.times = 0
        pick = picks.following(large)
        assert pick is not None and pick.inputs == [some]
        assert picks.following(large) is None
        assert Compared.times < 3000
    dropped = large.apply(
        VersionEdit(drops_added=tuple(Drop(Compared(b"9%03d" % n), 10**6) for n in range(99)))
    )
    Compared.times = 0
    assert RangePicks(dropped, b"", b"1", OPTIONS).following(dropped) is not None
    assert Compared.times < 30_000


def joined(rows: Version, options: EngineOptions) -> tuple[list[list[int]], Version]:
    """The tables of each pick, and what is there when all are done."""
    picks = list[list[int]]()
    while (pick := pick_compaction(rows, options, NOBODY)) is not None:
        assert pick.why == "small" and pick.can_wait and pick.target_level == 2
        metas, ids = pick.inputs, tuple(meta.file_id for meta in pick.inputs)
        (low, high), size = outer_range(metas), sum(meta.size for meta in metas)
        made = replace(metas[0], file_id=100 + len(picks), smallest=low, largest=high, size=size)
        rows = rows.apply(VersionEdit(added=((2, made),), removed=ids))
        picks.append([*ids])
    return picks, rows


def test_small_tables_of_one_copy_become_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction_pick, "_FEW_TABLES", 6)
    options = replace(OPTIONS, level1_bytes=10_000, table_bytes=1000, joined_prefix_bytes=1)
    small = [table(n, f"a{n:02}a-a{n:02}z", size=230) for n in range(1, 65)]
    picks, rows = joined(version([], [], small), options)
    assert len(rows.levels[2]) < 64 * 230 / (0.75 * 1000) + 1
    written = [file_id for each in picks for file_id in each]
    assert len({*written}) == len(written) and {*written} <= {*range(1, 65)}, "each is written once"
    assert joined(version([], [], small), replace(options, joined_prefix_bytes=0))[0] == []
    copies = [table(n, f"{c}a-{c}z", size=300) for n, c in enumerate("abcdefgh", 1)]
    assert joined(version([], [], copies), options)[0] == [], "what lies between copies belongs to others"
    assert joined(version([], [], small[:6]), options)[0] == [], "a few are no harm"
    uneven = [table(1, "aa-ab", size=800), table(2, "ac-ad", size=50), table(3, "ae-af", size=50)]
    assert joined(version([], [], [*uneven, *copies[1:]]), options)[0] == []
    assert pick_compaction(version([], [], small), options, NOBODY, lambda pick: pick.why != "small") is None


def test_a_scan_finds_its_tables_by_bisection() -> None:
    level = cast("list[Table]", long_level(1, 1000))
    for start, end in ((b"", None), (b"%012d" % 10**8, b"%012d" % (101 * 10**6)), (b"3", b"4")):
        expected = [each for each in level if each.largest >= start and (not end or each.smallest < end)]
        Compared.times = 0
        run = _TableRun(level, Range(start, end, 1, reverse=True), NO_DROPS)
        assert Compared.times < 50
        assert run._tables == expected


def test_a_deletion_is_looked_for_below_by_bisection() -> None:
    level = long_level(1, 2000)
    overlapping_ones = [(b"%012d" % 7, b"%012d" % 10**6), (b"%012d" % 8, b"%012d" % 9)]
    may_forget = _forgets((*((meta.smallest, meta.largest) for meta in reversed(level)), *overlapping_ones))
    Compared.times = 0
    assert not may_forget(level[900].smallest) and not may_forget(level[900].largest)
    assert may_forget(level[900].largest + b"0") and may_forget(level[-1].largest + b"0") and may_forget(b"")
    assert not may_forget(b"%012d" % (10**6 - 1)) and not may_forget(b"%012d" % 9)
    assert Compared.times < 7 * 40


class Cut(bytes):
    """A key that counts how often it is looked at for a prefix."""

    times = 0

    def __getitem__(self, at: Any) -> Any:
        Cut.times += 1
        return bytes(self)[at]

    def startswith(self, *asked: Any) -> bool:
        Cut.times += 1
        return bytes(self).startswith(*asked)


def test_a_merge_looks_a_key_up_among_drops_and_heeds_those_of_its_keys() -> None:
    inputs = [table(1, "pb-pm"), table(2, "pa-pz")]
    full = version(inputs, [table(3, "q-z")]).apply(
        VersionEdit(drops_added=(Drop(b"a", 50), Drop(b"p", 50), Drop(b"pq", 50), Drop(b"pz9", 50)))
    )
    found = drops_within(full, *outer_range(inputs))
    assert [drop.prefix for drop in found] == [b"p", b"pq"]
    dropped = tuple(Drop(b"%04d" % number, 100) for number in range(400))
    job = CompactionJob("", (), (), (), dropped, (), table_shape(OPTIONS, is_split=True), has_marks=False)
    cells = [cell_of(sequence, b"value") for sequence in (90, 110)]
    chunks: list[tuple[list[bytes], list[bytes]]] = [
        ([Cut(b"%04d" % number)], [cell]) for number, cell in ((7, cells[0]), (8, cells[1]))
    ]
    merged = [*_merge_versions([iter(chunks)], job)]
    assert [key for keys, _ in merged for key in keys] == [b"0008"]
    assert Cut.times < 10


def test_what_is_found_below_a_table_is_what_overlaps_it() -> None:
    random = Random(1)
    for _ in range(200):
        keys = sorted(b"%03d" % number for number in random.sample(range(300), 40))
        spans = [*zip(keys[::2], keys[1::2], strict=True)]
        tables = [replace(table(n, "a-z"), smallest=a, largest=b) for n, (a, b) in enumerate(spans, 1)]
        low, high = sorted(b"%03d" % random.randrange(300) for _ in range(2))
        assert [*overlapping(tables, low, high)] == [each for each in tables if each.overlaps(low, high)]
        drop = Drop(low[: random.randint(0, 3)], 10**6)
        assert [*filter(partial(may_hold, drop=drop), around(tables, drop.prefix))] == [
            each for each in tables if may_hold(each, drop)
        ]
        drops = tuple(Drop(b"%02d" % random.randrange(30), random.randrange(200)) for _ in range(8))
        full = replace(version([], tables), drops=drops)
        assert useless_tables(full, NOBODY) == [
            each
            for each in tables
            if any(
                each.last_sequence <= drop.sequence
                and each.smallest.startswith(drop.prefix)
                and each.largest.startswith(drop.prefix)
                for drop in drops
            )
        ]
