"""The time that the caller of a unary call still waits, counted from when it sent the call.

gRPC counts the deadline of a call from its arrival, so a call that waited in the socket of a stopped process
looks fresh.  So answers carry this node's clock, and a caller that knows it sends the time until which
it waits.  For other callers (a generated client, the very first call) the deadline counts from the arrival.
Rule D2: docs/protocol/requests.md.
"""

from __future__ import annotations

import grpc

from ringmill.cluster.ports import Clock
from ringmill.cluster.wire.sending_time import CLOCK_KEY, UNTIL_KEY, microseconds

__all__ = ["clock_texts", "seconds_left"]


def clock_texts(clock: Clock) -> dict[str, str]:
    """This node's clock, as an answer begins with it."""
    return {CLOCK_KEY: str(microseconds(clock.boottime()))}


def seconds_left(context: grpc.aio.ServicerContext, clock: Clock) -> float | None:
    """Seconds that the caller still waits; below 0 when it has given up, None when it has no deadline."""
    left_s: float | None = context.time_remaining()
    until = next((str(value) for key, value in context.invocation_metadata() or () if key == UNTIL_KEY), "")
    if not until.isdecimal():
        return left_s
    until_s = int(until[:20]) * 1e-6 - clock.boottime()
    return until_s if left_s is None else min(left_s, until_s)
