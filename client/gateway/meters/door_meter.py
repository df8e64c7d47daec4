"""What one door of the gateway has answered and refused since it was opened.

A door counts all the time, whether or not anybody looks: a request costs it two additions.  What is asked and
how it ended come from the door's own tables, never from what a caller sends: labels stay few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from ringmill.cluster.meters.histogram import Histogram
from ringmill.cluster.meters.request_meter import METER_BITS

__all__ = ["NO_ROUTE", "DoorMeter", "Refused"]

Refused: TypeAlias = Literal["rate", "room", "connections"]
NO_ROUTE: Final = "unknown"
"""What is asked by a request that is none of the door's."""


class DoorMeter:
    """`answers` by what was asked and how it ended; `times` of those that were answered whole, in
    nanoseconds."""

    __slots__ = ("answers", "now", "refused", "times")

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        """`now` is a clock in seconds, of which only differences mean anything; without it the loop's."""
        self.now = now or (lambda: asyncio.get_running_loop().time())
        self.answers: dict[tuple[str, str | int], int] = {}
        self.refused: dict[Refused, int] = {"rate": 0, "room": 0, "connections": 0}
        self.times = Histogram(METER_BITS)

    def answered(self, asked: str, ended: str | int, took_s: float | None) -> None:
        """A request was answered; None for one whose time says nothing, such as a watch."""
        place = (asked, ended)
        self.answers[place] = self.answers.get(place, 0) + 1
        if took_s is not None:
            self.times.record(int(took_s * 1e9))

    def refuse(self, why: Refused) -> None:
        """Something was refused: above a caller's rate, or for want of room or of a connection."""
        self.refused[why] += 1
