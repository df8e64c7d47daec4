"""Histograms: within 1 % of the exact percentile, and runs that add up."""

from __future__ import annotations

import json
import math
import random

from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.meters.histogram import Histogram

LATENCIES = st.lists(st.integers(min_value=0, max_value=1 << 45), min_size=1, max_size=200)


def histogram_of(latencies: list[int]) -> Histogram:
    histogram = Histogram()
    for one in latencies:
        histogram.record(one)
    return histogram


def exact(latencies: list[int], share: float) -> int:
    return sorted(latencies)[max(0, math.ceil(len(latencies) * share) - 1)]


@given(LATENCIES, st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999, 1.0]))
def test_a_percentile_is_never_too_low_and_less_than_one_percent_too_high(
    latencies: list[int], share: float
) -> None:
    told, right = histogram_of(latencies).percentile_ns(share), exact(latencies, share)
    assert right <= told <= right * 1.01 + 1


@given(LATENCIES, LATENCIES)
def test_two_runs_added_up_are_the_run_of_both(ours: list[int], theirs: list[int]) -> None:
    together = histogram_of(ours)
    together.add(histogram_of(theirs))
    assert together.to_dict() == histogram_of(ours + theirs).to_dict()


@given(LATENCIES)
def test_a_histogram_survives_json(latencies: list[int]) -> None:
    histogram = histogram_of(latencies)
    written = json.loads(json.dumps(histogram.to_dict()))
    assert Histogram.of(written).to_dict() == histogram.to_dict()


def test_a_clock_that_went_back_counts_as_no_time_and_a_day_as_the_longest() -> None:
    histogram = histogram_of([-5, 10**15])
    assert histogram.percentile_ns(0.5) == 0
    assert histogram.count == 2


def test_an_empty_histogram_has_percentiles_of_zero() -> None:
    assert set(Histogram().percentiles_ms().values()) == {0.0}


def test_the_far_tail_is_told_apart() -> None:
    drawn = random.Random(7)
    histogram = histogram_of([drawn.randrange(1_000_000, 2_000_000) for _ in range(100_000)])
    for _ in range(20):
        histogram.record(900_000_000)
    told = histogram.percentiles_ms()
    assert told["p99.9"] < 2.1
    assert told["p99.99"] >= 900


@given(LATENCIES, LATENCIES)
def test_what_came_since_an_earlier_look_is_left(earlier: list[int], later: list[int]) -> None:
    now = histogram_of(earlier + later)
    between = now.since(histogram_of(earlier))
    assert between.count == len(later)
    assert between.filled == histogram_of(later).filled


def test_a_histogram_that_began_anew_is_taken_whole() -> None:
    fresh = histogram_of([5])
    assert fresh.since(histogram_of([5, 5, 7])) is fresh


@given(LATENCIES, st.lists(st.integers(min_value=1, max_value=44), min_size=1, unique=True))
def test_how_many_are_below_powers_of_two_is_exact(latencies: list[int], exponents: list[int]) -> None:
    coarse = Histogram(2)
    for one in latencies:
        coarse.record(one)
    bounds = [1 << exponent for exponent in sorted(exponents)]
    assert coarse.at_most(bounds) == [sum(each < bound for each in latencies) for bound in bounds]
    again = Histogram.of_buckets(coarse.filled.items(), coarse.sum_ns, coarse.max_ns, 2)
    assert again.filled == coarse.filled and again.count == len(latencies)
