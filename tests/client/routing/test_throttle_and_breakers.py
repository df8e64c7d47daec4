"""What a client does about nodes that refuse or fail most requests: the numbers alone."""

from __future__ import annotations

from ringmill.client.routing.breakers import FIRST_OPEN_S, LONGEST_OPEN_S, Breakers
from ringmill.client.routing.throttle import SLOT_S, Throttle

A, B, C = "a:1", "b:1", "c:1"


def test_a_client_whose_requests_are_accepted_refuses_none() -> None:
    throttle = Throttle()
    for _ in range(1000):
        throttle.accepted(0.0)
    assert throttle.refusal_chance(0.0) == 0
    for _ in range(1000):
        throttle.refused(0.0)
    assert throttle.refusal_chance(0.0) == 0, "half may be refused"


def test_when_nine_of_ten_are_refused_the_client_sends_about_two() -> None:
    throttle = Throttle()
    for _ in range(100):
        throttle.accepted(0.0)
        for _ in range(9):
            throttle.refused(0.0)
    assert 0.75 < throttle.refusal_chance(0.0) < 0.85


def test_few_refusals_prove_nothing() -> None:
    throttle = Throttle()
    for _ in range(19):
        throttle.refused(0.0)
    assert throttle.refusal_chance(0.0) == 0


def test_what_was_long_ago_counts_no_longer() -> None:
    throttle = Throttle()
    for _ in range(1000):
        throttle.refused(0.0)
    assert throttle.refusal_chance(SLOT_S) > 0.9
    throttle.accepted(SLOT_S)
    assert throttle.refusal_chance(2 * SLOT_S) == 0


def test_a_breaker_opens_when_half_of_twenty_fail_and_its_node_is_asked_last() -> None:
    breakers = Breakers()
    breakers.failed(A, 0.0)
    for _ in range(10):
        breakers.answered(A, 0.0)
    for _ in range(9):
        assert breakers.last([A, B, C], 0.0) == [A, B, C]
        breakers.failed(A, 0.0)
    assert breakers.last([A, B, C], 0.0) == [B, C, A]
    assert breakers.last([A, B, C], FIRST_OPEN_S) == [A, B, C]


def test_few_failures_among_many_answers_open_nothing() -> None:
    """Nor just after the counting has begun a new slot."""
    for ends in (9.0, SLOT_S, SLOT_S + 0.01):
        breakers = Breakers()
        for number in range(5000):
            breakers.answered(A, number * ends / 5000)
        for _ in range(20):
            breakers.failed(A, ends)
        assert not breakers.is_open(A, ends)


def test_answers_of_long_ago_keep_no_breaker_closed() -> None:
    breakers = Breakers()
    for _ in range(5000):
        breakers.answered(A, 0.0)
    for _ in range(20):
        breakers.failed(A, 2 * SLOT_S + 0.1)
    assert breakers.is_open(A, 2 * SLOT_S + 0.1)


def test_a_node_that_fails_again_is_left_alone_for_twice_as_long_and_an_answer_ends_that() -> None:
    breakers, now = Breakers(), 0.0
    for _ in range(20):
        breakers.failed(A, now)
    for open_s in (FIRST_OPEN_S, 4.0, 8.0, 16.0, LONGEST_OPEN_S, LONGEST_OPEN_S):
        assert breakers.is_open(A, now + open_s - 0.01)
        assert not breakers.is_open(A, now + open_s)
        now += open_s
        breakers.failed(A, now)
    now += LONGEST_OPEN_S
    breakers.answered(A, now)
    breakers.failed(A, now)
    assert not breakers.is_open(A, now)


def test_failures_while_it_is_open_are_those_of_requests_sent_before() -> None:
    breakers = Breakers()
    for _ in range(200):
        breakers.failed(A, 0.0)
    assert not breakers.is_open(A, FIRST_OPEN_S)
