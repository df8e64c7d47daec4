"""A node loses its disk, and an operator gives it its seat back on an empty one."""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.replacement import replaced
from ringmill.cluster.ring.topology import Topology
from ringmill.node.assembly import Node
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.faults.fault import Fault, FaultKind, early
from ringmill.simulator.world.ground import Ground

__all__ = ["KINDS"]

_TRY_S: Final = 2.0
_PAUSE_S: Final = 0.5


async def _lose_and_replace(fault: Fault, ground: Ground) -> None:
    """The operator asks until it is decided, also once everything else is healed."""
    name = fault.nodes[0]
    node = ground.nodes[name]
    if not any(_topology_of(ground, other) for other in ground.nodes):
        return
    ground.trace.fault(fault.kind, name)
    node.kill(CrashModel.PREFIX)
    node.disk.replace()
    node.disk.is_rotten = True  # what it holds comes from other owners
    await asyncio.sleep(min(fault.lasts_s, 2.0) * ground.draws.random())
    ground.start([name])
    ground.operators.append(asyncio.create_task(_operate(name, ground)))
    await asyncio.sleep(min(fault.lasts_s, 2.0))


async def _operate(name: str, ground: Ground) -> None:
    while not _is_seated(name, ground):
        others = [other for other in ground.nodes if other != name and _topology_of(ground, other)]
        disk = _empty_disk(ground.nodes[name].node)
        if others and disk is not None:
            await _ask(ground, ground.draws.choice(others), name, disk)
        await asyncio.sleep(_PAUSE_S)


def _is_seated(name: str, ground: Ground) -> bool:
    """The node itself knows that its disk is named."""
    topology = _topology_of(ground, name)
    return topology is not None and topology.epoch > 1


async def _ask(ground: Ground, other: str, name: str, disk: DiskId) -> None:
    topology = _topology_of(ground, other)
    process = ground.nodes[other]
    assert topology is not None and process.node is not None
    former = topology.member(NodeId(name)).disk
    epochs = process.node.membership.epochs

    async def work() -> None:
        try:
            await epochs.change(lambda present, _: replaced(present, NodeId(name), former, disk), _TRY_S)
            ground.trace.note("operator", f"{name} has a new disk")
        except RingmillError as error:
            ground.trace.note("operator", f"{name} has no new disk yet: {error.code}")

    await asyncio.wait([process.inside(work())], timeout=2 * _TRY_S)  # a node that is killed never tells


def _empty_disk(node: Node | None) -> DiskId | None:
    """The disk of a node that runs and belongs to no cluster yet; None for any other node."""
    if node is None or node.membership.topology.current is not None:
        return None
    return node.identity.disk


def _topology_of(ground: Ground, name: str) -> Topology | None:
    process = ground.nodes[name]
    return process.node.membership.topology.current if process.serves and process.node else None


KINDS: Final = (FaultKind("disk_replaced", _lose_and_replace, draw=early, chance=0.25, spoils=True),)
