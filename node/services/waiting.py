"""How long the caller of a plain call goes on waiting, judged from when it sent it.

gRPC counts the deadline of a call from its arrival, so a call that waited in the socket of a stopped process
looks fresh.  An answer therefore tells this node's clock, and a caller that has learned it says until when it
waits.  A caller that says nothing (a generated client, the very first call) is judged from the arrival.
Rule D2: docs/protocol/requests.md.
"""

from __future__ import annotations

import grpc

from ringmill.cluster.ports import Clock
from ringmill.cluster.wire.sending_time import CLOCK_KEY, UNTIL_KEY, microseconds

__all__ = ["seconds_left", "tell_clock"]


async def tell_clock(context: grpc.aio.ServicerContext, clock: Clock) -> None:
    """Say what this node's clock reads, before the answer."""
    await context.send_initial_metadata(((CLOCK_KEY, str(microseconds(clock.boottime()))),))


def seconds_left(context: grpc.aio.ServicerContext, clock: Clock) -> float | None:
    """Below 0 when the caller waits no longer; None when it set no deadline."""
    left_s: float | None = context.time_remaining()
    until = next((str(value) for key, value in context.invocation_metadata() or () if key == UNTIL_KEY), "")
    if not until.isdecimal():
        return left_s
    until_s = int(until[:20]) * 1e-6 - clock.boottime()
    return until_s if left_s is None else min(left_s, until_s)
