"""Each named fold beside plain Python, whatever the cuts; and what `job()` refuses of them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill import Collect, Count, Distinct, FileOutput, Max, Min, Sum, Top, broken_laws, job
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.folds import BoundFold, Fold
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.failures import TaskFailed

Row = tuple[int, str]


def lengths(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield line[:1], len(line)


def shares(offset: int, line: str) -> Iterator[tuple[str, float]]:
    yield line[:1], 0.1 * len(line)


def rows(offset: int, line: str) -> Iterator[tuple[str, Row]]:
    yield line[:1], (len(line), line)


def lists(offset: int, line: str) -> Iterator[tuple[str, list[int]]]:
    yield line[:1], [offset]


def anything(offset: int, line: str) -> Iterator[tuple[str, Any]]:
    yield line[:1], offset


def spread(key: str, values: Iterable[int]) -> Iterator[tuple[str, int]]:
    values = list(values)
    yield key, max(values) - min(values)


def total(key: str, values: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield key, sum(values)


def total_of_floats(key: str, values: Iterable[float]) -> Iterator[tuple[str, float]]:
    yield key, sum(values)


def often(key: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    if (count := sum(counts)) > 1:
        yield key, count


def exact(values: list[float]) -> float:
    if any(map(math.isnan, values)) or {math.inf, -math.inf} <= set(values):
        return math.nan
    if infinite := [value for value in values if math.isinf(value)]:
        return infinite[0]
    sum_ = sum(map(Fraction, values))
    try:
        return float(sum_)
    except OverflowError:
        return math.inf if sum_ > 0 else -math.inf


def folded(bound: BoundFold, values: list[Any], cuts: Iterable[int]) -> Any:
    """The result when the values are cut, each part is shortened twice, and neighbours once more."""
    places = [0, *sorted({cut % (len(values) + 1) for cut in cuts}), len(values)]
    sent: list[Any] = []
    for start, end in pairwise(places):
        if start == end:
            continue
        part = values[start:end]
        if bound.add is not None:
            totals: dict[str, Any] = {}
            middle = len(part) // 2
            bound.add(totals, [("k", value) for value in part[:middle]])
            bound.add(totals, [("k", value) for value in part[middle:]])
            part = list(totals.values())
        else:
            part = bound.shorten(bound.shorten(part))
        sent += part
        if len(sent) > 3:
            sent = bound.shorten(sent)
    return bound.finish(iter(sent))


INTS = st.lists(st.integers(), min_size=1)
FLOATS = st.lists(st.floats(), min_size=1, max_size=40)
FINITE = st.lists(st.floats(allow_nan=False), min_size=1)
ROWS = st.lists(st.tuples(st.integers(-2, 2), st.text(max_size=1)), min_size=1)
CUTS = st.lists(st.integers(0, 100), max_size=5)
PLAIN: list[tuple[Fold, Any, Any, Any]] = [
    (Sum(), int, INTS, sum),
    (Sum(), float, FLOATS, exact),
    (Count(), int, INTS, len),
    (Min(), float, FINITE, min),
    (Max(), Row, ROWS, max),
    (Top(3), Row, ROWS, lambda values: heapq.nlargest(3, values)),
    (Distinct(), Row, ROWS, lambda values: list(dict.fromkeys(values))),
    (Collect(), Row, ROWS, list),
]


@pytest.mark.parametrize(
    ("fold", "hint", "strategy", "plain"), PLAIN, ids=[f"{at}-{row[0]}" for at, row in enumerate(PLAIN)]
)
def test_a_fold_gives_what_plain_python_gives_wherever_the_values_are_cut(
    fold: Fold, hint: Any, strategy: Any, plain: Any
) -> None:
    bound = fold.bind(hint, "here")

    @given(strategy, CUTS)
    def check(values: list[Any], cuts: list[int]) -> None:
        ours, theirs = folded(bound, values, cuts), plain(values)
        # repr tells 0.0 from -0.0 and 1 from 1.0
        assert repr(ours) == repr(theirs) or ours == theirs == 0.0

    check()


def test_a_long_sum_of_floats_does_not_depend_on_their_order() -> None:
    values = [1e16, 1.0, -1e16, 1e-9] * 5000
    bound = Sum().bind(float, "here")
    assert bound.finish(values) == bound.finish(sorted(values)) == exact(values)
    assert len(bound.shorten(values)) <= 4


@pytest.mark.parametrize("value", [math.nan, (1.0, (math.nan, "x"))])
@pytest.mark.parametrize("fold", [Min(), Max(), Top(1)])
def test_nan_has_no_place_in_an_order(fold: Fold, value: Any) -> None:
    bound = fold.bind(float if isinstance(value, float) else tuple[float, tuple[float, str]], "here")
    with pytest.raises(TaskFailed, match="NaN is neither smaller nor larger"):
        folded(bound, [value, value], [])


@pytest.mark.parametrize("values", [[None, 5], [5, None], [None, 5, None], [None, None]])
@pytest.mark.parametrize("fold", [Min(), Max()])
def test_none_has_no_place_in_an_order_wherever_it_comes(fold: Fold, values: list[Any]) -> None:
    bound = fold.bind(int, "here")
    with pytest.raises(TypeError):
        folded(bound, values, [])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"map": lists, "reduce": Sum()}, r"Sum\(\) adds int or float; .* values of type list\[int\]"),
        ({"map": anything, "reduce": Sum()}, "values of type Any"),
        ({"map": lists, "reduce": Max()}, r"Max\(\) compares int, float"),
        ({"map": shares, "reduce": Distinct()}, r"Distinct\(\) compares int, str"),
        ({"map": lengths, "combine": Sum()}, "would write a result of each part of the input"),
        ({"map": shares, "combine": Sum(), "reduce": total_of_floats}, "only reduce=Sum"),
        ({"map": lengths, "combine": Top(2), "reduce": Top(3)}, "depends on where the input is cut"),
        ({"map": lengths, "combine": Sum(), "reduce": Count()}, "depends on where the input is cut"),
        ({"map": lengths, "combine": total, "reduce": Count()}, "combine would change their number"),
        ({"map": lists, "combine": Count(), "reduce": Top(1)}, "depends on where"),
        ({"map": rows, "combine": Max(), "reduce": spread}, "reduce .* takes int"),
        (
            {"map": lengths, "reduce": Collect(), "output": FileOutput("bytes")},
            r"Collect\(\) gives list\[int\]",
        ),
    ],
)
def test_a_fold_that_would_not_give_one_result_is_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        job(**parts)


@pytest.mark.parametrize("n", [0, -1, True, 2.0])
def test_top_keeps_at_least_one(n: Any) -> None:
    with pytest.raises(InvalidArgument, match="at least 1"):
        Top(n)


SAMPLE = ["a", "abc", "b", "ab", "abc"]


@pytest.mark.parametrize(
    ("definition", "broken"),
    [
        (job(map=lengths, reduce=Sum()), 0),
        (job(map=lists, combine=Count(), reduce=often), 0),
        (job(map=lists, combine=Count(), reduce=Sum()), 0),
        (job(map=lists, reduce=Collect()), 0),
        (job(map=lengths, combine=total, reduce=Sum()), 0),
        (job(map=lengths, combine=total, reduce=Collect()), 1),
    ],
)
def test_a_sample_is_checked_with_folds_too(definition: JobDefinition, broken: int) -> None:
    assert len(broken_laws(definition, SAMPLE)) == broken
