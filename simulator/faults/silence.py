"""A node is silent, and those that keep its hints meanwhile are stopped, or find no room for them.

A hint is kept once an owner has not answered, so that what befalls its keeper has to come just then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ringmill.simulator.faults.fault import Fault, FaultKind, at_all, drawn
from ringmill.simulator.world.ground import Ground

__all__ = ["KINDS"]

_FLIGHT_S: Final = 1.0  # by then writes wait for the silent node
_RARE: Final = 0.15


async def _stop_keepers(ground: Ground, keepers: list[str], lasts_s: float) -> None:
    """One after the other, in order, and each starts again before the next one stops."""
    for name in keepers:
        node = ground.nodes[name]
        if node.is_running:
            node.resume()
            await node.stop()
            ground.start([name])


async def _fill_keepers(ground: Ground, keepers: list[str], lasts_s: float) -> None:
    """Only a node that ended is started again: what it has no room for is in memory alone."""
    for name in keepers:
        ground.nodes[name].disk.fill_up()
    await asyncio.sleep(lasts_s)
    for name in keepers:
        ground.nodes[name].disk.make_room()
        if not ground.nodes[name].is_running:
            ground.replace_faulty(name)


def _beside_silence(name: str, strike: Callable[[Ground, list[str], float], Awaitable[None]]) -> FaultKind:
    async def apply(fault: Fault, ground: Ground) -> None:
        silent, *others = fault.nodes
        ground.trace.fault(fault.kind, silent)
        ground.nodes[silent].pause()
        await asyncio.sleep(_FLIGHT_S * ground.draws.random())
        await strike(ground, others, fault.lasts_s)
        ground.nodes[silent].resume()

    return FaultKind(name, apply, draw=drawn(at_all), chance=_RARE)


KINDS: Final = (
    _beside_silence("stop_beside_silence", _stop_keepers),
    _beside_silence("full_beside_silence", _fill_keepers),
)
