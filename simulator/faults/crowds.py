"""Other clients ask a node for more than it can do: it has hardly any room left and refuses most requests.

Those clients are not simulated.  What is left of the node's limits is.  Rule O3: docs/protocol/overload.md.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.overload.work_limit import WorkLimit, WorkLimitOptions
from ringmill.simulator.faults.fault import Fault, FaultKind, at_some, drawn
from ringmill.simulator.world.ground import Ground

__all__ = ["KINDS"]

_LEFT: Final = WorkLimitOptions(
    first_limit=1.0, least_limit=1.0, most_limit=1.0, least_queue=1.0, burst_s=0.0, standing_s=0.0
)
_OFTEN: Final = 0.3


async def _crowd(fault: Fault, ground: Ground) -> None:
    """Only that start of the node: a new one begins with room."""
    gates = [node.core.gate for name in fault.nodes if (node := ground.nodes[name].node) is not None]
    usual = [gate.work for gate in gates]
    for gate in gates:
        ground.trace.fault(fault.kind, gate.name)
        gate.work = WorkLimit(_LEFT, asyncio.get_running_loop().time())
    await asyncio.sleep(fault.lasts_s)
    for gate, limit in zip(gates, usual, strict=True):
        gate.work = limit


KINDS: Final = (FaultKind("crowd", _crowd, draw=drawn(at_some), chance=_OFTEN),)
