"""Counts the requests of clients that a node has answered: by method and outcome, with how long each took.

A node counts all the time, whether or not anybody looks: a request costs it one look-up and a few additions.
The time is from when the request was read to when its answer was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.meters.histogram import Histogram

__all__ = ["METER_BITS", "MethodMeter", "RequestMeter", "outcome_named"]

METER_BITS: Final = 2
"""The precision of a node's histograms: 180 buckets, each at most a quarter wider than its lowest value."""
DONE: Final = "ok"


class MethodMeter:
    """What is counted of one method, since the start of the node."""

    __slots__ = ("done", "failed", "times")

    def __init__(self) -> None:
        self.done = 0
        self.failed: dict[str, int] = {}  # by outcome
        self.times = Histogram(METER_BITS)

    @property
    def outcomes(self) -> Mapping[str, int]:
        """Requests by outcome: "ok", or the code of the error in lower case."""
        return {DONE: self.done, **self.failed}


class RequestMeter:
    def __init__(self) -> None:
        self.methods: dict[str, MethodMeter] = {}
        """By the name that the carrier has for it: "kv.put", "ringmill.v1.Kv/Put"."""

    def done(self, method: str, took_s: float) -> None:
        """A request was answered."""
        meter = self.methods.get(method)
        if meter is None:
            meter = self.methods[method] = MethodMeter()
        meter.done += 1
        meter.times.record(int(took_s * 1e9))

    def failed(self, method: str, error: BaseException, took_s: float) -> None:
        """A request was answered with an error."""
        meter = self.methods.setdefault(method, MethodMeter())
        outcome = outcome_named(error)
        meter.failed[outcome] = meter.failed.get(outcome, 0) + 1
        meter.times.record(int(took_s * 1e9))


def outcome_named(error: BaseException) -> str:
    """The outcome that an error is: its code, or "cancelled" when the client has gone."""
    if isinstance(error, RingmillError):
        return error.code.lower()
    return "internal" if isinstance(error, Exception) else "cancelled"
