"""Faults that only moves feel: old owners of a partition that fall behind while its owners change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.moves import sources_for
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.cluster.ring.topology_entries import JOINT_1, JOINT_2
from ringmill.node.assembly import Node
from ringmill.node.moves.filled_so_far import MoveProgress
from ringmill.node.replica.stored_key import Copy
from ringmill.simulator.faults.fault import Fault, FaultKind, as_soon_as, waiting
from ringmill.simulator.world.ground import Ground

__all__ = ["KINDS"]

_OFTEN: Final = 0.3
_DELAYS_S: Final = (0.0, 0.1, 0.4)


async def _strand_owner(fault: Fault, ground: Ground) -> None:
    """Cut an old owner of a partition off from all nodes but the owner that leaves it, before the joint is
    opened: it hears of the joint late, and who leaves has been read by then."""
    found: list[NodeId] = []

    def strikes() -> bool:
        found.extend(_before_a_joint(ground))
        return bool(found)

    if await as_soon_as(strikes, fault):
        ground.trace.fault(fault.kind, ",".join(found))
        others = [node for node in ground.nodes if node not in found]
        pairs = [pair for node in others for pair in ((found[0], node), (node, found[0]))]
        ground.cut(pairs)
        await asyncio.sleep(fault.amount)
        ground.join(pairs)


def _before_a_joint(ground: Ground) -> list[NodeId]:
    """Of a partition that gets new owners by a plan, and has no joint yet: the owner that clients ask
    first, and one that leaves, and joins no other one; nobody when there is none."""
    held = [process.node.membership.topology.current for process in ground.nodes.values() if process.node]
    topology = max((each for each in held if each), key=lambda each: each.epoch, default=None)
    if topology is None:
        return []
    joiners = {seat for row in topology.rows for seat in row.wanted if seat not in row.owners}
    pairs = [
        (first, leaver.node)
        for row in topology.rows
        if row.wanted and not row.is_joint
        for first in row.whole[:1]
        for leaver in row.owners
        if leaver not in (*row.wanted, *joiners) and leaver.node != first
    ]
    return list(ground.draws.choice(pairs)) if pairs else []


async def _split_joint(fault: Fault, ground: Ground) -> None:
    """Cut the owner that leaves a partition, another old owner and half of the clients off from all others:
    they may go on by a document that the others replace meanwhile."""
    phase, found = ground.draws.choice((JOINT_1, JOINT_2)), list[NodeId]()

    def strikes() -> bool:
        found.extend(_behind_in(ground, phase))
        return bool(found)

    if await as_soon_as(strikes, fault):
        await asyncio.sleep(ground.draws.choice(_DELAYS_S))
        ground.trace.fault(fault.kind, ",".join(found))
        inside = {*found, *ground.draws.sample(ground.clients, len(ground.clients) // 2)}
        outside = [name for name in (*ground.nodes, *ground.clients) if name not in inside]
        pairs = [pair for one in sorted(inside) for other in outside for pair in ((one, other), (other, one))]
        ground.cut(pairs)
        await asyncio.sleep(fault.amount)
        ground.join(pairs)


def _behind_in(ground: Ground, phase: str) -> list[NodeId]:
    """The leaver and another old owner of a partition in this phase, by a document that all nodes hold, whose
    joiner can go on now; nobody when there is none."""
    nodes = {process.name: process.node for process in ground.nodes.values() if process.node}
    known = [node.membership.topology.current for node in nodes.values()]
    held = [each for each in known if each is not None]
    topology = max(held, key=lambda each: each.epoch, default=None)
    if topology is None or any(each.epoch < topology.epoch for each in held):
        return []
    pairs = [
        pair
        for number, row in enumerate(topology.rows)
        if row.phase == phase and _may_go_on(nodes, topology, PartitionId(number))
        for pair in _pairs(topology, row)
    ]
    return list(ground.draws.choice(pairs)) if pairs else []


def _may_go_on(nodes: Mapping[NodeId, Node], topology: Topology, partition: PartitionId) -> bool:
    """Whether the joiner of a partition holds some of its keys, and has read enough old owners."""
    row = topology.row(partition)
    joiner = None if row.joiner is None else nodes.get(row.joiner.node)
    if joiner is None:
        return False
    objects, copy = joiner.replica.objects, Copy(partition, row.copy_epoch_of(joiner.core.node))
    if not objects.is_counted or copy not in objects.copies():
        return False
    return row.phase == JOINT_2 or len(MoveProgress(joiner.replica.control).sources(copy)) >= sources_for(
        topology, row
    )


def _pairs(topology: Topology, row: Row) -> list[tuple[NodeId, NodeId]]:
    """Those without whom the others are still most of the voters."""
    if row.leaver is None:
        return []
    leaver, most = row.leaver.node, (len(topology.voters) - 1) // 2
    pairs = [(leaver, other) for other in row.whole if other != leaver]
    return [pair for pair in pairs if sum(node in topology.voter_nodes for node in pair) <= most]


KINDS: Final = (
    FaultKind("split_joint", _split_joint, draw=waiting(6.0, 10.0), chance=_OFTEN),
    FaultKind("strand_owner", _strand_owner, draw=waiting(6.0, 10.0), chance=_OFTEN),
)
