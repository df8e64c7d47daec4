"""Other clients ask a node for more than it can do: it has room only now and then, and refuses the rest.

Those clients are not simulated.  What they leave of the node's limits is.

Rule O3: docs/protocol/overload.md.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.overload.work_limit import WorkLimit, WorkLimitOptions
from ringmill.simulator.faults.fault import Fault, FaultKind, at_some, drawn
from ringmill.simulator.world.ground import Ground

__all__ = ["KINDS"]

_NO_ROOM: Final = WorkLimitOptions(first_limit=0.0, least_limit=0.0, least_queue=0.0, first_rate=0.0)
_FULL_S: Final = 0.015
_FREE_S: Final = 0.005
_OFTEN: Final = 0.3


async def _crowd(fault: Fault, ground: Ground) -> None:
    """Only that start of the node: a new one begins with room."""
    gates = [node.core.gate for name in fault.nodes if (node := ground.nodes[name].node) is not None]
    usual = [gate.work for gate in gates]
    for gate in gates:
        ground.trace.fault(fault.kind, gate.name)
    loop = asyncio.get_running_loop()
    until = loop.time() + fault.lasts_s
    while loop.time() < until:
        for gate in gates:
            gate.work = WorkLimit(_NO_ROOM, loop.time())
        await asyncio.sleep(_FULL_S)
        for gate, limit in zip(gates, usual, strict=True):
            gate.work = limit
        await asyncio.sleep(_FREE_S)


KINDS: Final = (FaultKind("crowd", _crowd, draw=drawn(at_some), chance=_OFTEN),)
