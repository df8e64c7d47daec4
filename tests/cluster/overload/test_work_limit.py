"""The limit follows the length of turns, the queue the rate at which requests are begun."""

from __future__ import annotations

from ringmill.cluster.overload.work_limit import WorkLimit, WorkLimitOptions, cost_of

OPTIONS = WorkLimitOptions()


def serve(limit: WorkLimit, *, turn_s: float, waits: bool, seconds: float, now: float) -> float:
    """Requests begin at an even rate of 1,000 a second, in turns of this length."""
    until = now + seconds
    while now < until:
        now += turn_s
        limit.queued(50 if waits else 0, now)
        limit.turned(turn_s, 1000 * turn_s, now)
    return now


def test_the_limit_shrinks_while_turns_are_long_and_no_further_than_the_least() -> None:
    limit = WorkLimit(OPTIONS, 0.0)
    now = serve(limit, turn_s=0.012, waits=True, seconds=0.12, now=0.0)
    assert OPTIONS.least_limit < limit.limit < OPTIONS.first_limit
    serve(limit, turn_s=0.02, waits=True, seconds=30, now=now)
    assert limit.limit == OPTIONS.least_limit


def test_the_limit_grows_only_while_requests_wait_for_it() -> None:
    limit = WorkLimit(OPTIONS, 0.0)
    now = serve(limit, turn_s=0.002, waits=False, seconds=10, now=0.0)
    assert limit.limit == OPTIONS.first_limit
    serve(limit, turn_s=0.002, waits=True, seconds=60, now=now)
    assert limit.limit == OPTIONS.most_limit


def test_turns_count_by_their_length_as_whoever_comes_falls_into_long_ones_more_often() -> None:
    limit, now = WorkLimit(OPTIONS, 0.0), 0.0
    for turn_s in [0.001] * 20 + [0.04] * 2:
        limit.turned(turn_s, 10, now := now + turn_s)
    assert limit.turn_s > 0.03
    assert limit.busy_share(now) > 3
    assert limit.busy_share(now + 2) == 0, "a node that begins nothing is idle"


def test_a_queue_may_be_long_for_a_burst_and_short_when_it_stands() -> None:
    limit = WorkLimit(WorkLimitOptions(least_queue=64), 0.0)
    now = serve(limit, turn_s=0.005, waits=True, seconds=10, now=0.0)
    assert abs(limit.rate - 1000) < 50
    assert abs(limit.queue_limit(now) - 1000 * OPTIONS.standing_s) < 10
    limit.queued(0, now)
    assert abs(limit.queue_limit(now) - 1000 * OPTIONS.burst_s) < 50


def test_whoever_is_refused_is_told_to_come_back_later_the_more_are_refused() -> None:
    limit = WorkLimit(OPTIONS, 0.0)
    now = serve(limit, turn_s=0.005, waits=True, seconds=1, now=0.0)
    assert limit.retry_after_s == OPTIONS.least_retry_s
    for _ in range(30):
        limit.refused(90)
        now = serve(limit, turn_s=0.005, waits=True, seconds=0.01, now=now)
    assert limit.retry_after_s > 5 * OPTIONS.least_retry_s
    assert limit.retry_after_s <= OPTIONS.most_retry_s


def test_a_request_costs_one_unit_and_one_for_each_4_kib_up_to_a_bound() -> None:
    assert [cost_of(b"." * size) for size in (0, 100, 4096, 10_000, 1 << 20)] == [1, 1, 2, 3, 16]


def test_a_node_that_was_idle_keeps_the_rate_that_it_knew() -> None:
    limit = WorkLimit(OPTIONS, 0.0)
    now = serve(limit, turn_s=0.005, waits=True, seconds=10, now=0.0)
    for _ in range(5):
        now = serve(limit, turn_s=0.005, waits=True, seconds=0.3, now=now + 60.0)
    assert abs(limit.rate - 1000) < 100
