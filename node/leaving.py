"""What a node does when it is told to stop: it says so, leaves its lease to another, and ends its calls.

Everything it is asked meanwhile is still done.  A member that has heard sees this node as down, so it neither
asks it first nor waits for it, and keeps hints for it.  Rule T10: docs/protocol/topology.md.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Protocol

from ringmill.cluster.gathering import gather_all
from ringmill.cluster.membership.stop_time import AFTER_FRAMES_S
from ringmill.node.assembly import Node

__all__ = ["LEAVE_S", "end_service", "leave_service"]

LEAVE_S: Final = 1.0
"""How long a stop waits for members to hear of it, and for one to take the lease; usually some 10 ms."""
NOTICE_S: Final = 0.1  # for what clients send before they hear that this node stops; it is still done
DRAIN_S: Final = 2.0  # for frames in progress
LAST_CALLS_S: Final = 1.0  # for plain calls; streams that never end by themselves use it up


class FrameCalls(Protocol):
    """What came in frames."""

    def say_leaving(self) -> int:
        """Tell clients to ask another node, and answer on.  Returns how many there are."""
        ...

    async def drain(self, timeout_s: float) -> None:
        """Refuse new calls, wait up to `timeout_s` for those under way, end all streams."""
        ...


class PlainCalls(Protocol):
    """What came as calls of gRPC."""

    async def set_ready(self, is_ready: bool) -> None: ...

    async def stop(self, *, grace_s: float) -> None:
        """Accept nothing new, give calls in progress `grace_s` seconds, then end them."""
        ...


async def end_service(node: Node, frames: FrameCalls, server: PlainCalls, *, limit_s: float) -> None:
    """Say that this node stops, and end what is under way.  The process is killed after `limit_s`."""
    time = node.core.stop_time
    time.begin(limit_s)
    await server.set_ready(False)
    are_clients = frames.say_leaving() > 0
    node.requests.end_watches()  # each goes on at another node (rule N3)
    await gather_all([leave_service(node), asyncio.sleep(NOTICE_S if are_clients else 0.0)])
    await frames.drain(time.within(DRAIN_S, AFTER_FRAMES_S))
    await server.stop(grace_s=time.within(LAST_CALLS_S))


async def leave_service(node: Node) -> None:
    """Returns when every member that is up has heard and another one has the lease, or after LEAVE_S."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LEAVE_S):
            await gather_all([node.membership.liveness.leave(), node.jobs.leave()])
