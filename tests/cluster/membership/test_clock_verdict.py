"""One reading of a clock beside those of the other nodes."""

import pytest

from ringmill.cluster.membership.clock_verdict import Comparison, compare, earliest_reading, shared_reading


def agrees(own_ms: float, others_ms: list[float], former: Comparison | None = None) -> bool:
    found = compare(own_ms, others_ms, len(others_ms))
    assert found is not None
    return found.agrees(former)


@pytest.mark.parametrize(
    ("own_ms", "others_ms", "expected"),
    [
        (2000, [2000, 2001], True),
        (2000, [0, 1], False),
        (2000, [0, 2000], True),
        (900, [0], False),
        (2000, [2000, 0, 0, 0], False),
        (2000, [2000, 2000, 0, 0], True),
        (2000, [], True),
    ],
    ids=["all", "alone", "two of three", "two nodes", "two of five", "three of five", "the only one"],
)
def test_a_clock_is_right_when_it_agrees_with_the_median(
    own_ms: float, others_ms: list[float], expected: bool
) -> None:
    assert agrees(own_ms, others_ms) is expected


def test_clocks_that_always_differed_may_move_alike() -> None:
    former = compare(7000, [0, 1], 2)
    assert agrees(9000, [2000, 2001], former)
    assert not agrees(9000, [0, 1], former)
    assert agrees(0, [0, 1], former)


def test_fewer_than_half_of_the_others_say_nothing() -> None:
    assert compare(0, [1], 4) is None
    assert compare(0, [1, 2], 4) is not None


@pytest.mark.parametrize(
    ("own_ms", "others_ms", "asked", "expected"),
    [
        (7200, [0, 0], 2, 0),
        (0, [7200, 0, 0], 4, 0),
        (0, [-7200, 0, 0], 3, 0),
        (7200, [0], 2, None),
        (7200, [0], 1, 0),
        (0, [7200], 1, 0),
        (5, [], 0, 5),
        (5, [], 2, None),
    ],
)
def test_expiry_goes_by_a_reading_that_one_wrong_clock_cannot_move(
    own_ms: float, others_ms: list[float], asked: int, expected: float | None
) -> None:
    assert shared_reading(own_ms, others_ms, asked) == expected


def test_the_earliest_reading_is_not_moved_forwards_by_one_wrong_clock() -> None:
    assert earliest_reading(7200, []) is None
    assert earliest_reading(7200, [0]) == earliest_reading(0, [7200]) == 0
    assert earliest_reading(3, [4, 2]) == 2
