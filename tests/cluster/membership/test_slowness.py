"""A member that answers much more slowly than its peers is slow, until it answers fast again."""

from __future__ import annotations

from collections.abc import Iterable

from ringmill.cluster.ids import NodeId
from ringmill.cluster.membership.slowness import Slowness

N2, N3, N4 = (NodeId(f"n{i}") for i in range(2, 5))


def told(times: dict[NodeId, Iterable[float]]) -> Slowness:
    slowness = Slowness()
    for node, each in times.items():
        for took_s in each:
            slowness.answered(node, took_s)
    return slowness


def test_a_member_much_slower_than_its_peers_is_slow_and_they_are_not() -> None:
    slowness = told({N2: [0.001] * 3, N3: [0.2, 0.3, 0.15], N4: [0.002] * 3})
    assert [slowness.is_slow(node) for node in (N2, N3, N4)] == [False, True, False]


def test_two_fast_answers_refute_it() -> None:
    slowness = told({N2: [0.001] * 3, N3: [0.2] * 3})
    slowness.answered(N3, 0.003)
    assert slowness.is_slow(N3)
    slowness.answered(N3, 0.003)
    assert not slowness.is_slow(N3)


def test_one_late_answer_is_chance() -> None:
    assert not told({N2: [0.001] * 3, N3: [0.001, 0.4, 0.001]}).is_slow(N3)


def test_when_all_are_slow_nobody_is_as_it_is_the_one_who_asks() -> None:
    slowness = told({N2: [0.3] * 3, N3: [0.4] * 3, N4: [0.35] * 3})
    assert not any(slowness.is_slow(node) for node in (N2, N3, N4))


def test_what_is_four_times_as_long_and_short_is_not_slow() -> None:
    assert not told({N2: [0.001] * 3, N3: [0.04] * 3}).is_slow(N3)


def test_nobody_is_slow_without_three_answers_or_without_a_peer_to_compare_with() -> None:
    assert not told({N2: [0.001] * 3, N3: [0.2] * 2}).is_slow(N3)
    assert not told({N3: [0.2] * 3}).is_slow(N3)


def test_a_member_that_was_down_begins_anew() -> None:
    slowness = told({N2: [0.001] * 3, N3: [0.2] * 3})
    slowness.forget(N3)
    assert not slowness.is_slow(N3)
