"""Stamps that tell the receiver of a message how long it was on its way.

The clocks of two machines have nothing to do with each other, and a message that waits in the socket of a
stopped process looks fresh when it is read.  So the side that asks learns the other side's clock from round
trips, and stamps what it sends with the reading that clock should have now.  The receiver compares the stamp
with its own clock and needs to know nothing of the sender.

An answer was stamped between the sending of its question and its own arrival, so each round trip bounds how
far the other clock is ahead (Cristian, "Probabilistic Clock Synchronization", 1989).  Within the bounds the
lowest value is kept: a stamp is early by at most one round trip, and never late, so nothing is done after
its deadline.  Clocks are boot clocks, which no operator sets and which go on while a machine sleeps.

Pure; times are microseconds.  Rule D2: docs/protocol/requests.md.  Layout of the stamps:
docs/formats/frame.md.
"""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["CLOCK_KEY", "FUTURE_US", "UNTIL_KEY", "PeerClock", "late_us", "left_us", "microseconds"]

CLOCK_KEY: Final = "ringmill-clock"
"""gRPC metadata of what an answering side says first: its boot clock, microseconds."""
UNTIL_KEY: Final = "ringmill-until"
"""gRPC metadata of a plain call: until when its caller waits, on that clock."""

FUTURE_US: Final = 500_000
"""A stamp may lie this far ahead of the receiver's clock.  One that lies further ahead was sent while that
clock stood still, as it does in a virtual machine that is suspended, so nobody knows how long it waited."""


class PeerClock:
    """The clock of another side, as far as round trips tell."""

    __slots__ = ("_ahead_us",)

    def __init__(self) -> None:
        self._ahead_us: int | None = None

    def learn(self, theirs_us: int, *, received_us: int, sent_us: int | None = None) -> None:
        """Their reading came with an answer received at `received_us`; its question was sent at `sent_us`,
        None when that is not known any more.  The last two are on our clock."""
        least = theirs_us - received_us
        ahead = least if self._ahead_us is None else max(self._ahead_us, least)
        self._ahead_us = ahead if sent_us is None else max(least, min(ahead, theirs_us - sent_us))

    def reading(self, now_us: int) -> int | None:
        """What it reads when ours reads `now_us`; None while nothing is known."""
        return None if self._ahead_us is None else max(0, now_us + self._ahead_us)


def left_us(remaining_us: int, sent_us: int | None, now_us: int) -> int:
    """What is left of an operation that had `remaining_us` when it was sent; 0 or less: it came too late.

    `sent_us` is the stamp of its message, on the clock that reads `now_us`; None when there is none.
    """
    late = late_us(sent_us, now_us)
    return 0 if late == sys.maxsize else remaining_us - late


def late_us(sent_us: int | None, now_us: int) -> int:
    """What all operations of a message have lost on its way; sys.maxsize, more than any of them had, when
    its stamp is more than FUTURE_US ahead."""
    if sent_us is None:
        return 0
    waited_us = now_us - sent_us
    return sys.maxsize if waited_us < -FUTURE_US else max(0, waited_us)


def microseconds(seconds: float) -> int:
    return int(seconds * 1e6)
