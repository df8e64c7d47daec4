"""When a request may be sent once more: the rules alone."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.client.routing.retries import (
    MAX_RETRIES,
    Next,
    attempt_timeout_s,
    is_worth_sending,
    may_go_further,
    next_step,
    pause_s,
    slow_after_s,
    told_time_s,
)
from ringmill.cluster.errors import (
    CorruptData,
    DeadlineExceeded,
    DiskFull,
    InvalidArgument,
    NotFound,
    Overloaded,
    QuorumNotReached,
    RingmillError,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.overload.budget import MAX_FURTHER, Budget

ERRORS = (
    CorruptData, DeadlineExceeded, DiskFull, InvalidArgument, NotFound, Overloaded, QuorumNotReached,
    Unavailable, WrongEpoch,
)  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in ERRORS if kind not in {Unavailable, WrongEpoch}])
def test_a_write_that_a_node_leaves_open_is_never_sent_again(kind: type[RingmillError]) -> None:
    assert next_step(kind("open", outcome="unknown"), is_write=True) is Next.GIVE_UP


@pytest.mark.parametrize("is_write", [True, False])
def test_a_request_whose_node_is_gone_or_silent_is_sent_elsewhere_as_a_further_attempt(
    is_write: bool,
) -> None:
    assert next_step(Unavailable("broke", outcome="unknown"), is_write=is_write) is Next.FURTHER
    assert may_go_further(MAX_FURTHER) and not may_go_further(MAX_FURTHER + 1)


def test_a_write_goes_elsewhere_when_nothing_was_sent() -> None:
    assert next_step(Unavailable("refused", outcome="failed"), is_write=True) is Next.TURN


def test_a_write_goes_elsewhere_when_the_node_s_disk_takes_none() -> None:
    assert next_step(DiskFull("read-only", outcome="failed"), is_write=True) is Next.TURN


def test_a_write_that_a_node_takes_for_late_goes_elsewhere_and_one_that_never_left_does_not() -> None:
    refused = DeadlineExceeded.on_arrival("came too late")
    assert next_step(refused, is_write=True) is Next.GIVE_UP, "its time is over here"
    refused.was_told = True
    assert next_step(refused, is_write=True) is Next.TURN


def test_a_write_that_waited_at_a_node_until_its_time_was_over_goes_nowhere_else() -> None:
    """With the tenth of a second that is left it would end as unknown, or vie with the first coordinator."""
    waited = DeadlineExceeded("4.90 s were over before the write was applied anywhere", outcome="failed")
    waited.was_told = True
    assert next_step(waited, is_write=True) is Next.GIVE_UP


def test_a_coordinator_that_cannot_read_its_own_copy_lets_another_one_do_it() -> None:
    assert next_step(CorruptData("block 7"), is_write=True) is Next.TURN
    assert next_step(CorruptData("block 7"), is_write=False) is Next.TURN
    assert next_step(CorruptData("block 7", outcome="unknown"), is_write=True) is Next.GIVE_UP


def test_a_coordinator_that_is_late_makes_a_read_go_elsewhere() -> None:
    assert next_step(DeadlineExceeded("late", outcome="unknown"), is_write=False) is Next.RETRY


def test_a_read_that_never_left_this_process_goes_elsewhere_and_costs_no_retry() -> None:
    assert next_step(DeadlineExceeded("was not sent", outcome="failed"), is_write=False) is Next.TURN
    refused = DeadlineExceeded("came too late", outcome="failed")
    refused.was_told = True
    assert next_step(refused, is_write=False) is Next.RETRY, "the node may have more to do than it can"


@pytest.mark.parametrize(("whole_s", "least_s"), [(60.0, 0.05), (5.0, 0.05), (0.4, 0.02)])
def test_an_attempt_that_no_node_could_answer_in_time_is_not_made(whole_s: float, least_s: float) -> None:
    assert is_worth_sending(least_s * 1.01, whole_s)
    assert not is_worth_sending(least_s * 0.99, whole_s)


def test_owners_that_are_late_make_a_read_ask_again_and_no_write() -> None:
    late = QuorumNotReached.of("get", 2, ["n1"], {"n2": "no answer"}, outcome="failed", is_late=True)
    late.was_told = True
    assert next_step(late, is_write=False) is Next.RETRY
    assert next_step(late, is_write=True) is Next.GIVE_UP
    assert next_step(late.with_outcome("unknown"), is_write=True) is Next.GIVE_UP


def test_an_old_row_is_refreshed_before_the_turn() -> None:
    assert next_step(WrongEpoch("row 7"), is_write=True) is Next.REFRESH


@pytest.mark.parametrize("kind", [InvalidArgument, NotFound, QuorumNotReached])
@pytest.mark.parametrize("is_write", [True, False])
def test_an_answer_is_final(kind: type[RingmillError], is_write: bool) -> None:
    assert next_step(kind("no"), is_write=is_write) is Next.GIVE_UP


def test_an_overloaded_node_gets_the_pause_it_asked_for_and_jitter() -> None:
    error = Overloaded("busy", detail={"retry_after": 0.2})
    assert pause_s(1, 0.0, error) == 0.2
    assert 0.2 < pause_s(1, 0.99, error) < pause_s(2, 0.99, error)


@given(left=st.floats(0.001, 60), whole=st.floats(0.001, 60))
def test_a_silent_read_costs_a_quarter_until_the_last_attempt(left: float, whole: float) -> None:
    for retries in range(MAX_RETRIES):
        assert attempt_timeout_s(left, whole, is_write=False, retries=retries) <= whole / 4
    assert attempt_timeout_s(left, whole, is_write=False, retries=MAX_RETRIES) == left
    assert attempt_timeout_s(left, whole, is_write=True, retries=0) == left


@given(whole=st.floats(0.001, 60))
def test_a_read_is_slow_after_a_quarter_but_for_its_last_attempt_and_a_write_never(whole: float) -> None:
    for retries in range(MAX_RETRIES):
        assert slow_after_s(whole, is_write=False, retries=retries) == whole / 4
    assert slow_after_s(whole, is_write=False, retries=MAX_RETRIES) == math.inf
    assert slow_after_s(whole, is_write=True, retries=0) == math.inf


@given(left=st.floats(0.001, 60), whole=st.floats(0.001, 60))
def test_the_node_of_a_read_has_less_time_than_its_caller(left: float, whole: float) -> None:
    assert 0 < left - told_time_s(left, whole) < 0.051


@given(st.lists(st.booleans(), max_size=300))
def test_retries_stay_a_tenth_of_the_requests(steps: list[bool]) -> None:
    budget, requests, retries = Budget(), 0, 0
    for is_request in steps:
        if is_request:
            requests += 1
            budget.earn()
        else:
            retries += budget.spend()
    assert retries <= budget.limit + budget.share * requests


def test_a_level_missed_as_the_owners_had_changed_is_tried_again_by_the_newer_topology() -> None:
    failed = QuorumNotReached.of("get", 2, ["n1"], {"n2": "newer"}, outcome="failed", newer_epoch=9)
    unknown = QuorumNotReached.of("put", 2, ["n1"], {"n2": "newer"}, outcome="unknown", newer_epoch=9)
    assert next_step(failed, is_write=False) is Next.REFRESH
    assert next_step(failed, is_write=True) is Next.REFRESH
    assert next_step(unknown, is_write=True) is Next.FURTHER
    assert next_step(WrongEpoch("row 12", outcome="unknown"), is_write=True) is Next.FURTHER
    same = QuorumNotReached.of("put", 2, ["n1"], {"n2": "silent"}, outcome="unknown")
    assert next_step(same, is_write=True) is Next.GIVE_UP
