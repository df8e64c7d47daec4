"""A fault that only changes of keyspaces feel: a node is stopped with one of them in its socket."""

from __future__ import annotations

import asyncio
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from ringmill.simulator.faults.fault import LONGEST_S, Fault, FaultKind, as_soon_as
from ringmill.simulator.world.transport import CHANGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringmill.simulator.world.ground import Ground

__all__ = ["KINDS"]

_OFTEN: Final = 0.3
_STOPPED_S: Final = (1.0, 2.0)
_TIMES: Final = 4


def _at_any_time(draws: Random, name: str, nodes: Sequence[str], horizon_s: float) -> Fault:
    """At whichever node is asked next from then on."""
    return Fault(draws.random() * horizon_s, name, tuple(nodes), LONGEST_S, draws.choice(_STOPPED_S))


async def _stop_with_change(fault: Fault, ground: Ground) -> None:
    """Stop a node as soon as a change is on its way to it that has the time to wait, again and again: others
    are asked instead, and it goes on with it when more was changed meanwhile."""
    stopped: list[str] = []

    def stop(name: str, method: str, timeout_s: float) -> bool:
        if stopped or method not in CHANGES or timeout_s < 2 * fault.amount:
            return False
        stopped.append(name)
        ground.trace.fault(fault.kind, name)
        ground.nodes[name].pause()
        return True

    traps = {name: partial(stop, name) for name in fault.nodes}
    for _ in range(_TIMES):
        try:
            ground.network.traps.update(traps)
            await as_soon_as(lambda: bool(stopped), fault)
        finally:
            for name in traps:
                ground.network.traps.pop(name, None)
        if not stopped:
            return
        await asyncio.sleep(fault.amount)
        ground.nodes[stopped.pop()].resume()


KINDS: Final = (FaultKind("stop_with_change", _stop_with_change, draw=_at_any_time, chance=_OFTEN),)
