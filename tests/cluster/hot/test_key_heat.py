"""Rates are of now, a busy node looks at few operations, and a hot key is found among many others."""

from __future__ import annotations

import random

import pytest

from ringmill.cluster.hot.key_heat import HeatOptions, HeatReport, KeyHeat, Work
from ringmill.cluster.ids import KeyspaceId, PartitionId

SPACE = KeyspaceId(1, 0)
HOT = b"hot"


class HandClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    boottime = wall = monotonic


class Load:
    """`share` of the operations are reads of one key, the others writes of keys that come once."""

    def __init__(self, **options: float) -> None:
        self.clock = HandClock()
        self.heat = KeyHeat(self.clock, HeatOptions(**options))  # type: ignore[arg-type]
        self.looked_at = self.number = 0
        self._draws = random.Random(7)

    def run(self, seconds: float, rate: int, share: float) -> HeatReport:
        for _ in range(round(seconds * rate)):
            self.clock.now += 1 / rate
            self.number += 1
            is_hot = self._draws.random() < share
            if self.heat.passes():
                self.looked_at += 1
                key = HOT if is_hot else b"%d" % self.number
                work = Work.READ if is_hot else Work.WRITE
                self.heat.note(work, SPACE, key, PartitionId(1 if is_hot else 2), 100)
        return self.heat.report()


@pytest.mark.parametrize("rate", [100, 20_000])
def test_a_rate_is_told_within_its_error_and_a_busy_node_looks_at_few(rate: int) -> None:
    load = Load()
    report = load.run(40.0 if rate < 1000 else 20.0, rate, 0.3)
    first = report.keys[0]
    assert (first.keyspace, first.key) == (SPACE, HOT)
    assert abs(first.rates.reads_s - 0.3 * rate) < first.error_s + 0.1 * rate
    assert first.rates.bytes_s == pytest.approx(100 * first.rates.reads_s)
    assert sum(report.partitions[PartitionId(2)][:4]) == pytest.approx(0.7 * rate, rel=0.2)
    assert len(report.keys) == 64
    assert report.floor_s <= rate / 64 * 1.2
    if rate == 100:
        assert load.looked_at == load.number, "an idle node sees all"
    else:
        assert load.looked_at < 200 * 20, "of 400,000"


def test_what_was_hot_before_is_not_hot_now_and_reads_are_spread_only_meanwhile() -> None:
    load = Load()
    assert load.run(5.0, 2000, 0.5).keys[0].is_spread
    assert load.heat.is_hot(SPACE, HOT)
    turns = [load.heat.next_turn(SPACE, HOT) for _ in range(3)]
    assert turns == [turns[0], turns[0] + 1, turns[0] + 2]
    assert turns[0]
    assert load.heat.next_turn(SPACE, b"other") == 0
    report = load.run(60.0, 200, 0.0)
    assert all(each.key != HOT or each.rates.reads_s < 2 for each in report.keys)
    assert not load.heat.is_hot(SPACE, HOT)
    assert load.heat.next_turn(SPACE, HOT) == 0


def test_a_key_stays_hot_when_spreading_has_taken_most_of_its_reads_away() -> None:
    load = Load()
    load.run(5.0, 2000, 0.5)
    load.run(60.0, 200, 0.5)
    assert load.heat.is_hot(SPACE, HOT), "100 a second are enough to stay, and not to become hot"
    seldom = Load()
    seldom.run(60.0, 200, 0.5)
    assert not seldom.heat.is_hot(SPACE, HOT)


def test_an_hour_without_requests_leaves_nothing_that_counts() -> None:
    load = Load()
    load.run(2.0, 5000, 0.5)
    load.clock.now += 3600
    report = load.heat.report()
    assert all(sum(each.rates) < 1e-9 for each in report.keys)
    load.run(1.0, 100, 1.0)
    assert load.heat.report().keys[0].rates.reads_s > 1, "and the next requests are seen at once"


def test_a_burst_after_a_pause_costs_next_to_nothing() -> None:
    load = Load()
    load.run(5.0, 20_000, 0.5)
    load.clock.now += 60
    before = load.looked_at
    load.run(1.0, 20_000, 0.5)
    assert load.looked_at - before < 400, "of 20,000"
