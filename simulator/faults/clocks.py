"""Wall clocks that jump, drift or are wrong from the start."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from ringmill.simulator.faults.fault import LONGEST_S, Fault, FaultKind, at_some, drawn
from ringmill.simulator.world.ground import Ground

__all__ = ["KINDS"]

_SKEW_S: Final = 7200.0
_STEPS_S: Final = {0.5: -3.0, 2.0: 2.0, LONGEST_S: 3600.0}  # of a clock, by what was drawn as a duration


def _sudden_step(draws: Random, name: str, nodes: Sequence[str], horizon_s: float) -> Fault:
    at_s, node, lasts_s = draws.random() * horizon_s, draws.choice(nodes), draws.choice(tuple(_STEPS_S))
    return Fault(at_s, name, (node,), lasts_s, amount=_STEPS_S[lasts_s])


def _step_of_all(draws: Random, name: str, nodes: Sequence[str], horizon_s: float) -> Fault:
    step = _sudden_step(draws, name, nodes, horizon_s)
    return Fault(step.at_s, name, tuple(nodes), step.lasts_s, step.amount)


async def _jump(fault: Fault, ground: Ground) -> None:
    for name in fault.nodes:
        ground.trace.fault(fault.kind, name)
        ground.nodes[name].clock.jump(fault.amount)


async def _drift(fault: Fault, ground: Ground) -> None:
    for name in fault.nodes:
        ground.trace.fault(fault.kind, name)
        ground.nodes[name].clock.drift_by(fault.amount)


async def _skew(fault: Fault, ground: Ground) -> None:
    """A node is started with a clock that is two hours ahead, or behind.  Nothing jumps while it runs."""
    for name in fault.nodes:
        node = ground.nodes[name]
        if node.is_running:
            ground.trace.fault(fault.kind, name)
            node.resume()
            await node.stop()
            node.clock.jump(_SKEW_S if fault.amount > 0 else -_SKEW_S)
            ground.start([name])


async def _host_step(fault: Fault, ground: Ground) -> None:
    """All nodes stand on one host, and somebody sets its clock."""
    ground.trace.fault(fault.kind, ",".join(fault.nodes))
    for name in fault.nodes:
        ground.nodes[name].clock.jump(fault.amount)


KINDS: Final = (
    FaultKind("clock_jump", _jump, draw=drawn(at_some, (-3600.0, -2.0, -0.4, 0.4, 2.0, 3600.0))),
    FaultKind("clock_drift", _drift, draw=drawn(at_some, (-0.01, -0.0005, 0.0005, 0.01))),
    FaultKind("host_clock_step", _host_step, draw=_step_of_all, chance=0.1),
    FaultKind("skewed_clock", _skew, draw=_sudden_step, chance=0.1),
)
