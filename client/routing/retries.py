"""Decides whether a request may be sent again, where, and after what pause.

Pure: it looks at an error and at numbers; client/routing/router.py acts.  The rules:

- A "turn" to another node adds no load: the error proves that nothing happened, because nothing was sent, or
  the node refused a stale row, takes no writes, cannot read its own copy of the key, or took a write for
  late.  Reads and writes may turn until the owners or the deadline run out.  A read that was still in a queue
  of this process when its attempt was over turns, too.
- A "retry" adds load to the cluster: only for reads, and for writes that were refused early, at most twice
  per request, from a budget of a tenth of all requests, after a pause with full jitter.
- A "further" attempt follows one whose node fell silent, whose connection broke, or which met owners that
  had changed (rule M1), as it may have been done: the same operation goes to another node,
  marked as a later attempt, and that node asks a quorum first what became of the earlier ones (rule V4).  At
  most twice per request, from a budget of its own, which has room for all that may be under way at a node
  when it stops.
- A read of a key or register whose node is slow stays there, with all the time that it has, and may be
  retried elsewhere meanwhile.  So a cluster that is slow as a whole answers late, and does not fail.
- Every other error is final.  When it leaves open what became of a write, its caller gets it.

Rules W4 and H9: docs/protocol/writes.md, docs/protocol/repair.md; D1: docs/protocol/requests.md.
"""

from __future__ import annotations

import math
from enum import Enum

from ringmill.cluster.errors import (
    CorruptData,
    DeadlineExceeded,
    DiskFull,
    Overloaded,
    QuorumNotReached,
    RingmillError,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.overload.budget import MAX_FURTHER

__all__ = [
    "FIRST_PAUSE_S",
    "Next",
    "LONGEST_PAUSE_S",
    "MAX_RETRIES",
    "SILENCE_SHARE",
    "attempt_timeout_s",
    "is_outdated",
    "is_worth_sending",
    "may_go_further",
    "may_retry",
    "next_step",
    "pause_s",
    "slow_after_s",
    "told_time_s",
]

MAX_RETRIES = 2
FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.5
SILENCE_SHARE = 0.25
"""Of the whole deadline: after that a node that answers others counts as slow with a request."""
LEAST_S = 0.05
LEAST_SHARE = 0.05
"""The least share of the whole deadline, where that is short.  Chosen, not measured."""


class Next(Enum):
    """What to do after an attempt failed."""

    GIVE_UP = "give up"
    REFRESH = "refresh the topology, then turn"
    TURN = "turn to another node at once"
    RETRY = "pause, then retry elsewhere"
    FURTHER = "send the same operation elsewhere, as a further attempt"


def next_step(error: RingmillError, *, is_write: bool) -> Next:
    """What the rules allow after `error`; the caller checks budget, count and deadline."""
    is_lost = (isinstance(error, Unavailable) or is_outdated(error)) and error.outcome != "failed"
    if is_lost or (is_write and error.outcome != "failed"):
        return Next.FURTHER if is_lost else Next.GIVE_UP
    match error:
        case WrongEpoch() | QuorumNotReached() if is_outdated(error):
            return Next.REFRESH
        case Unavailable(outcome="failed") | DiskFull(outcome="failed") | CorruptData(outcome="failed"):
            return Next.TURN
        case Overloaded():
            return Next.RETRY
        case DeadlineExceeded() | QuorumNotReached(is_late=True):
            return _after_lateness(error, is_write=is_write)
    return Next.GIVE_UP


def _after_lateness(error: RingmillError, *, is_write: bool) -> Next:
    """An attempt of a read has a share of the deadline: its coordinator was slow, or owners were.

    A write has all of it: a node that refuses one on arrival as late, with time left here, has a clock that
    stood still.  One that has tried until the end leaves no time to try elsewhere, and says for certain what
    came of it.
    """
    if is_write:
        return Next.TURN if isinstance(error, DeadlineExceeded) and error.came_late else Next.GIVE_UP
    return Next.TURN if error.outcome == "failed" and not error.was_told else Next.RETRY


def is_outdated(error: RingmillError) -> bool:
    """Whether owners refused by a newer topology than the coordinator's, which is worth fetching."""
    return isinstance(error, WrongEpoch) or (isinstance(error, QuorumNotReached) and error.newer_epoch > 0)


def pause_s(attempt: int, uniform: float, error: RingmillError) -> float:
    """Seconds before attempt number `attempt` (1 is the first retry): full jitter on a doubling bound.

    `uniform` lies in [0, 1).  A silent or broken node has already cost time, so there is no pause.  An
    overloaded node gets at least the pause it asked for.
    """
    if not isinstance(error, Overloaded):
        return 0.0
    bound = min(FIRST_PAUSE_S * float(2**attempt), LONGEST_PAUSE_S)
    return error.retry_after + uniform * bound


def may_retry(retries: int) -> bool:
    """Whether retry number `retries` (from 1) is still within the bound."""
    return retries <= MAX_RETRIES


def may_go_further(further: int) -> bool:
    """Whether further attempt number `further` (from 1) is still within the bound."""
    return further <= MAX_FURTHER


def is_worth_sending(left_s: float, whole_s: float) -> bool:
    """Whether an attempt could be answered in what is left of the whole deadline.  One that could not would
    tell of the little time that it had, and not of why the attempts before it have failed."""
    return left_s > min(LEAST_S, whole_s * LEAST_SHARE)


def slow_after_s(whole_s: float, *, is_write: bool, retries: int) -> float:
    """After how many seconds an attempt counts as slow, and another node may be asked beside it: infinity for
    a write, which may not be done twice, and for the last attempt of a read."""
    return math.inf if is_write or retries >= MAX_RETRIES else whole_s * SILENCE_SHARE


def told_time_s(left_s: float, whole_s: float) -> float:
    """The time that the node of a read is told to have: so much less than there is that it can say before the
    end who has not answered it."""
    return max(left_s - min(LEAST_S, whole_s * LEAST_SHARE), left_s / 2)


def attempt_timeout_s(remaining_s: float, deadline_s: float, *, is_write: bool, retries: int) -> float:
    """The longest time for one attempt in seconds, of a call that cannot go on beside another one: a quarter
    of the whole deadline for a read, but all that is left for the last node."""
    if is_write or retries >= MAX_RETRIES:
        return remaining_s
    return min(remaining_s, deadline_s * SILENCE_SHARE)
