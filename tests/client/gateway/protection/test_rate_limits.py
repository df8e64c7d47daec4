"""Limits of a rate, as laws: what passes in any span, and that a wait that was told is enough."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill import InvalidArgument, SlidingWindow, TokenBucket
from ringmill.client.gateway.protection import caller_limits
from ringmill.client.gateway.protection.caller_limits import CallerLimits, Room, WindowLimit

pauses = st.lists(st.floats(0, 3), min_size=1, max_size=80)
SLACK = 1e-6


def passed(take: Callable[[float], float], pauses: list[float]) -> list[float]:
    """The moments at which one passed, of askings with these pauses between them."""
    now, found = 100.0, []
    for pause in pauses:
        now += pause
        if take(now) == 0:
            found.append(now)
    return found


@given(pauses, st.floats(0.5, 20), st.integers(1, 10))
def test_a_bucket_lets_no_more_pass_in_any_span_than_its_burst_and_rate(
    pauses: list[float], rate_s: float, burst: int
) -> None:
    found = passed(TokenBucket(rate_s, burst).take, pauses)
    assert found, "it is full at first"
    for first, begin in enumerate(found):
        for last in range(first, len(found)):
            assert last - first + 1 <= burst + rate_s * (found[last] - begin) + SLACK


@given(pauses, st.integers(1, 10), st.floats(0.2, 5))
def test_no_span_of_the_length_of_the_window_holds_more_than_it_lets_pass(
    pauses: list[float], most: int, window_s: float
) -> None:
    found = passed(SlidingWindow(most, window_s).take, pauses)
    assert found
    for at in range(most, len(found)):
        assert found[at] - found[at - most] >= window_s - SLACK


@given(pauses)
def test_after_the_wait_that_was_told_one_passes(pauses: list[float]) -> None:
    for limit in (TokenBucket(2.0, 3), SlidingWindow(3, 1.5)):
        now = 5.0
        for pause in pauses:
            now += pause
            wait_s = limit.take(now)
            if wait_s:
                now += wait_s + SLACK
                assert limit.take(now) == 0


def test_an_amount_above_the_burst_never_passes_and_takes_nothing() -> None:
    bucket = TokenBucket(1.0, 2)
    assert bucket.take(0.0, 3) == float("inf")
    assert bucket.take(0.0, 2) == 0


@pytest.mark.parametrize("limit", [(0, 1), (1, 0), (float("nan"), 1), (float("inf"), 1)])
def test_a_bucket_that_means_nothing_is_refused(limit: tuple[float, float]) -> None:
    with pytest.raises(InvalidArgument):
        TokenBucket(*limit)
    with pytest.raises(InvalidArgument):
        SlidingWindow(0, 1.0)


def test_each_caller_has_limits_of_its_own_and_both_kinds_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    loop = SimpleNamespace(time=lambda: now[0])
    monkeypatch.setattr(caller_limits, "asyncio", SimpleNamespace(get_running_loop=lambda: loop))
    limits = CallerLimits(2.0, WindowLimit(3, 60.0))
    assert [limits.take("a") for _ in range(3)] == [0.0, 0.0, 0.5]
    assert limits.take("b") == 0.0
    now[0] = 1.0
    assert limits.take("a") == 0.0
    now[0] = 1.5
    assert limits.take("a") == 58.5, "three within the window"
    assert CallerLimits().take("a") == 0.0


def test_a_room_is_full_when_it_is_and_has_place_again() -> None:
    room = Room(1)
    assert (room.enter(), room.enter()) == (True, False)
    room.leave()
    assert room.enter()
