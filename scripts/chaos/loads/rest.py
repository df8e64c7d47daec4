"""When the faults are over: until all is delivered, and what the owners hold then."""

from __future__ import annotations

import asyncio
from typing import Final

from chaos.loads.ground import Ground
from chaos.loads.owners import finals
from chaos.real_nodes import REPLICAS, RealNodes
from ringmill.cluster.errors import DeadlineExceeded, Unavailable
from ringmill.simulator.subjects.objects.sessions import Session, insist

__all__ = ["QUIET_S", "hints_delivered", "look_at_owners"]

QUIET_S: Final = 180.0
FLIGHT_S: Final = 6.0  # the longest a request may still be under way at its coordinator
POLL_S: Final = 0.25
LAST_READ_S: Final = 10.0


async def hints_delivered(nodes: RealNodes) -> None:
    """Until all serve and no node keeps a hint."""
    await nodes.wait_ready(QUIET_S)
    await asyncio.sleep(FLIGHT_S)
    while not await _are_at_rest(nodes):  # noqa: ASYNC110 - other processes cannot set an event
        await asyncio.sleep(POLL_S)


async def _are_at_rest(nodes: RealNodes) -> bool:
    try:
        return not any((await nodes.hints()).values())
    except (Unavailable, DeadlineExceeded):  # busy: asked again, for as long as the whole may take
        return False


async def look_at_owners(ground: Ground) -> int:
    """What owners hold before anybody reads; one read of each key from all; what they hold then.

    It tells how many keys there are.
    """
    history, topology, addresses = ground.history, ground.topology, ground.nodes.addresses
    keys = sorted({operation.key for operation in history.operations})
    history.handed_over = await finals(topology, addresses, keys, ground.nodes.token)
    async with ground.client(Session, "last", LAST_READ_S) as session:
        await insist(session, keys, lambda _: str(REPLICAS), history.operations)
    history.finals = await finals(topology, addresses, keys, ground.nodes.token)
    return len(keys)
