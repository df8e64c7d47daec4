"""What the sketch promises of each key, beside exact counts."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.hot.space_saving import SpaceSaving

STREAMS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=200)


@given(STREAMS, st.integers(1, 12), st.lists(st.integers(0, 199), max_size=3))
def test_counts_are_right_within_the_bound_whatever_comes_in_whatever_order(
    stream: list[tuple[int, int]], capacity: int, faded_at: list[int]
) -> None:
    sketch: SpaceSaving[int] = SpaceSaving(capacity, parts=1)
    exact: Counter[int] = Counter()
    for at, (key, weight) in enumerate(stream):
        if at in faded_at:  # a power of two, so that floats are exact
            sketch.scale(2.0)
            exact = Counter({each: 2 * count for each, count in exact.items()})
        sketch.add(key, weight)[0] += weight
        exact[key] += weight
    held = dict(sketch.items())
    total = exact.total()
    assert len(held) <= capacity
    for key, entry in held.items():
        assert entry.count - entry.surplus <= exact[key] <= entry.count
        assert entry.parts[0] == entry.count - entry.surplus
        assert entry.surplus <= total / capacity
    assert all(exact[key] <= sketch.floor <= total / capacity for key in exact if key not in held)
    assert {key for key, count in exact.items() if count > total / capacity} <= set(held)
