"""Stamps: early by at most a round trip, never late, whatever the two clocks have to do with each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.wire.sending_time import FUTURE_US, PeerClock, left_us, microseconds

delays = st.integers(0, 3_000_000)
round_trips = st.lists(st.tuples(delays, delays, st.integers(0, 10**9)), min_size=1, max_size=8)


@given(st.integers(0, 10**12), st.integers(0, 10**12), round_trips, delays)
def test_a_stamp_is_early_by_at_most_the_way_back_and_never_late(
    ours: int, theirs: int, trips: list[tuple[int, int, int]], later: int
) -> None:
    clock, true_us = PeerClock(), 0
    shortest = 10**9
    for there, back, pause in trips:
        sent, stamped, received = true_us, true_us + there, true_us + there + back
        clock.learn(theirs + stamped, sent_us=ours + sent, received_us=ours + received)
        shortest = min(shortest, back)
        true_us = received + pause
    reading = clock.reading(ours + true_us + later)
    assert reading is not None
    assert 0 <= theirs + true_us + later - reading <= shortest


def test_nothing_is_known_before_the_other_side_has_spoken() -> None:
    assert PeerClock().reading(5) is None


def test_a_clock_that_stood_still_is_learned_anew_from_one_round_trip() -> None:
    clock = PeerClock()
    clock.learn(1_000_000, sent_us=0, received_us=100)
    clock.learn(1_000_300, sent_us=9_000_000, received_us=9_000_100)
    reading = clock.reading(9_000_100)
    assert reading is not None
    assert 1_000_300 <= reading <= 1_000_400


def test_an_answer_to_a_question_that_is_forgotten_can_only_raise_what_is_known() -> None:
    clock = PeerClock()
    clock.learn(500, received_us=1_000)
    clock.learn(1_900, received_us=2_000)
    assert clock.reading(3_000) == 2_900
    clock.learn(2_000, received_us=4_000)
    assert clock.reading(5_000) == 4_900


@pytest.mark.parametrize(
    ("sent_us", "now_us", "left"),
    [
        (1_000, 1_400, 600),
        (1_000, 5_000, -3_000),
        (1_400, 1_000, 1_000),
        (1_000 + FUTURE_US + 1, 1_000, 0),
        (None, 5_000, 1_000),
    ],
    ids=["waited", "too late", "a little ahead", "sent while our clock stood still", "no stamp"],
)
def test_what_a_message_waited_is_taken_off_its_time(sent_us: int | None, now_us: int, left: int) -> None:
    assert left_us(1_000, sent_us, now_us) == left


def test_seconds_become_whole_microseconds() -> None:
    assert microseconds(1.25) == 1_250_000
