"""How long calls may take whose bodies are large, over links that are slow."""

from __future__ import annotations

import pytest

from ringmill.cluster.errors import DeadlineExceeded
from ringmill.cluster.ids import NodeId
from ringmill.cluster.overload.crossing import LONGEST_S, Crossings

N1, N2 = NodeId("n1"), NodeId("n2")


def too_late(crossings: Crossings, node: NodeId, size_bytes: int = 0) -> float:
    with pytest.raises(DeadlineExceeded), crossings.within(node, size_bytes) as timeout_s:
        raise DeadlineExceeded("late")
    return timeout_s


def in_time(crossings: Crossings, node: NodeId, size_bytes: int = 0) -> float:
    with crossings.within(node, size_bytes) as timeout_s:
        return timeout_s


def test_a_call_that_was_too_late_is_given_twice_as_long_and_others_as_before() -> None:
    now_s = 0.0
    crossings = Crossings(5.0, lambda: now_s)
    assert [too_late(crossings, N1) for _ in range(6)] == [5.0, 10.0, 20.0, 40.0, LONGEST_S, LONGEST_S]
    assert in_time(crossings, N2) == 5.0
    times = list[float]()
    for _ in range(30):
        now_s += 60.0
        times.append(in_time(crossings, N1))
    assert times[0] == LONGEST_S and times == sorted(times, reverse=True) and times[-1] == 5.0


def test_small_calls_that_are_in_time_do_not_take_back_what_a_large_one_needs() -> None:
    now_s = 0.0
    crossings = Crossings(5.0, lambda: now_s)
    too_late(crossings, N1)
    for _ in range(50):
        now_s += 1.0
        in_time(crossings, N1)
    assert in_time(crossings, N1) == 10.0


def test_whoever_was_too_late_is_known_for_some_minutes() -> None:
    now_s = 0.0
    crossings = Crossings(5.0, lambda: now_s)
    assert not crossings.was_late(N1)
    too_late(crossings, N1)
    assert crossings.was_late(N1) and not crossings.was_late(N2)
    now_s += 299.0
    assert crossings.was_late(N1)
    now_s += 2.0
    assert not crossings.was_late(N1)


def test_what_is_large_begins_with_more() -> None:
    crossings = Crossings(5.0, lambda: 0.0)
    assert in_time(crossings, N1, 64 << 10) == 5.0
    assert in_time(crossings, N1, 1 << 20) == 20.0
    assert in_time(crossings, N1, 1 << 30) == LONGEST_S


def test_where_others_wait_for_a_call_it_is_given_less_at_most() -> None:
    crossings = Crossings(5.0, lambda: 0.0, longest_s=20.0)
    for given_s in (5.0, 10.0, 20.0, 20.0):
        with pytest.raises(DeadlineExceeded), crossings.within(N2) as timeout_s:
            assert timeout_s == given_s
            raise DeadlineExceeded("late")
