"""Faults for a job that is loading its output: its coordinator crashes, or stops until it is replaced."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from ringmill.simulator.faults.fault import Fault, FaultKind, first_found, waiting
from ringmill.simulator.faults.processes import crash
from ringmill.simulator.world.ground import Ground

__all__ = ["KINDS"]

_OFTEN: Final = 0.6


def _loaders(ground: Ground) -> list[str]:
    """Nodes that coordinate a job whose winners are named."""
    return [
        node.name
        for node in ground.nodes.values()
        if node.node is not None
        and any(view.summary.state == "COMMITTING" for view in node.node.jobs.views())
    ]


async def _found(fault: Fault, ground: Ground) -> str:
    """One of them, a moment after it began; empty when there is none in time."""
    found = await first_found(lambda: _loaders(ground), fault)
    if not found:
        return ""
    await asyncio.sleep(ground.draws.choice((0.0, 0.05, 0.5)) * ground.draws.random())
    return found[0]


async def _crash_loader(fault: Fault, ground: Ground) -> None:
    if name := await _found(fault, ground):
        await crash(replace(fault, nodes=(name,)), ground)
        await asyncio.sleep(fault.amount)
        ground.start([name])


async def _pause_loader(fault: Fault, ground: Ground) -> None:
    if name := await _found(fault, ground):
        ground.trace.fault(fault.kind, name)
        ground.nodes[name].pause()
        await asyncio.sleep(fault.amount)
        ground.nodes[name].resume()


KINDS: Final = (
    FaultKind("crash_loader", _crash_loader, draw=waiting(6.0, 12.0), chance=_OFTEN),
    FaultKind("pause_loader", _pause_loader, draw=waiting(8.0, 12.0), chance=_OFTEN),
)
