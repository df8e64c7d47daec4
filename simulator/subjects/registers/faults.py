"""A kind of fault that shows in registers: a disk forgets what is new, and what is old survives on it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.node.storage.engine import Engine
from ringmill.simulator.faults.fault import Fault, FaultKind, as_soon_as
from ringmill.simulator.world.ground import Ground

__all__ = ["KINDS"]

_LATER_S: Final = (2.0, 4.0, 8.0)


def _draw(draws: Random, name: str, nodes: Sequence[str], horizon_s: float) -> Fault:
    return Fault(draws.random() * horizon_s / 2, name, (draws.choice(nodes),), draws.choice(_LATER_S))


async def _rot_logs(fault: Fault, ground: Ground) -> None:
    """What a node holds goes into tables; once it has removed a register, or some seconds later, it stops in
    order, and nearly all that its logs have noted since is damaged when it starts again."""
    name = fault.nodes[0]
    node = ground.nodes[name]
    if not node.is_running or node.node is None or node.node.membership.topology.current is None:
        return
    registers, start = node.node.replica.registers, node.current
    flushing = node.inside(_flush(node.node.replica.engine))
    await asyncio.wait([flushing], timeout=fault.lasts_s)  # a node that is killed meanwhile ends nothing
    before = registers.removed
    await as_soon_as(lambda: registers.removed > before or node.current is not start, fault)
    if node.node is None or node.node.membership.topology.current is None:
        return
    node.resume()
    await node.stop()
    if node.current is None:
        for _ in range(node.disk.rot_logs()):
            ground.trace.fault(fault.kind, name)
    ground.start([name])


async def _flush(engine: Engine) -> None:
    """A node that stops, or whose disk fails, flushes nothing more."""
    with suppress(RingmillError, OSError):
        await engine.flush()


KINDS: Final = (FaultKind("log_rot", _rot_logs, draw=_draw, chance=0.1, spoils=True),)
