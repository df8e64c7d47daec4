"""What a node does first when it is told to stop: it says so, and leaves its lease to another member.

Everything it is asked meanwhile is still done.  A member that has heard sees this node as down, so it neither
asks it first nor waits for it, and keeps hints for it.  Rule T10: docs/protocol/topology.md.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from ringmill.cluster.gathering import gather_all
from ringmill.node.assembly import Node

__all__ = ["LEAVE_S", "leave_service"]

LEAVE_S: Final = 1.0
"""How long a stop waits for members to hear of it, and for one to take the lease; usually some 10 ms."""


async def leave_service(node: Node) -> None:
    """Returns when every member that is up has heard and another one has the lease, or after LEAVE_S."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LEAVE_S):
            await gather_all([node.membership.liveness.leave(), node.jobs.leave()])
