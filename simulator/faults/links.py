"""Links that lose, duplicate, reorder, delay or hold back messages.

A link is disturbed while the fault lasts; simulator/world/network.py counts each message that is hit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ringmill.simulator.faults.fault import Fault, FaultKind, at_pair_or_all, drawn
from ringmill.simulator.world.ground import Ground
from ringmill.simulator.world.network import DirectedLink

__all__ = ["KINDS"]


def _lose(link: DirectedLink, by: float) -> None:
    link.loss = max(0.0, link.loss + by)


def _double(link: DirectedLink, by: float) -> None:
    link.duplicate = max(0.0, link.duplicate + by)


def _shuffle(link: DirectedLink, by: float) -> None:
    link.reorder = max(0.0, link.reorder + by)


def _delay(link: DirectedLink, by: float) -> None:
    link.latency_s = max(0.0, link.latency_s + by)


def _bent(
    name: str,
    disturb: Callable[[DirectedLink, float], None],
    amounts: tuple[float, ...],
    *,
    is_counted: bool = False,
) -> FaultKind:
    """`is_counted` as a fault of its own, where no message tells that it was hit."""

    async def apply(fault: Fault, ground: Ground) -> None:
        if is_counted:
            ground.trace.fault(fault.kind, ",".join(fault.nodes))
        for link in ground.links(fault.nodes):
            disturb(link, fault.amount)

    async def undo(fault: Fault, ground: Ground) -> None:
        for link in ground.links(fault.nodes):
            disturb(link, -fault.amount)

    return FaultKind(name, apply, undo, drawn(at_pair_or_all, amounts), lasting=True)


async def _hold_back(fault: Fault, ground: Ground) -> None:
    ground.trace.fault(fault.kind, ",".join(fault.nodes))
    until = asyncio.get_running_loop().time() + fault.lasts_s
    for link in ground.links(fault.nodes):
        link.stuck_until = max(link.stuck_until, until)


_CHANCES: Final = (0.02, 0.1, 0.4)
KINDS: Final = (
    _bent("loss", _lose, _CHANCES),
    _bent("duplicate", _double, _CHANCES),
    _bent("reorder", _shuffle, _CHANCES),
    _bent("slow_link", _delay, (0.02, 0.2, 1.5), is_counted=True),
    FaultKind("stuck_link", _hold_back, draw=drawn(at_pair_or_all)),
)
