"""Faults that only moves feel: old owners of a partition fall behind while its owners change, or a member
that leaves keeps writes for an owner."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.moves import sources_for
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.cluster.ring.topology_entries import JOINT_1, JOINT_2
from ringmill.node.assembly import Node
from ringmill.node.replica.stored_key import Copy
from ringmill.simulator.faults.fault import Fault, FaultKind, first_found, waiting
from ringmill.simulator.faults.splits import Pairs, between
from ringmill.simulator.world.ground import Ground

__all__ = ["DELAYS_S", "KINDS", "PHASES"]

_OFTEN: Final = 0.3
DELAYS_S: Final = (0.0, 0.1, 0.4)
PHASES: Final = (JOINT_1, JOINT_2)


async def _strand_owner(fault: Fault, ground: Ground) -> None:
    """Cut an old owner of a partition off from all nodes but the owner that leaves it, before the joint is
    opened: it hears of the joint late, and who leaves has been read by then."""
    if found := await first_found(lambda: _before_a_joint(ground), fault):
        others = [node for node in ground.nodes if node not in found]
        await _cut(fault, ground, found, between(found[:1], others))


def _before_a_joint(ground: Ground) -> list[NodeId]:
    """Two owners of a partition that a plan gives new owners and that has no joint yet: the one that clients
    ask first, and one that leaves it and joins no other one.  Nobody when there is no such partition."""
    topology = _newest(_documents(ground))
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
    phase = ground.draws.choice(PHASES)
    if found := await first_found(lambda: _behind_in(ground, phase), fault):
        await asyncio.sleep(ground.draws.choice(DELAYS_S))
        inside = {*found, *ground.draws.sample(ground.clients, len(ground.clients) // 2)}
        outside = [name for name in (*ground.nodes, *ground.clients) if name not in inside]
        await _cut(fault, ground, found, between(sorted(inside), outside))


def _behind_in(ground: Ground, phase: str) -> list[NodeId]:
    """The leaver and another old owner of a partition in this phase, by a document that all nodes hold, whose
    joiner can go on now; nobody when there is none."""
    nodes = {process.name: process.node for process in ground.nodes.values() if process.node}
    held = _documents(ground)
    topology = _newest(held)
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
    return row.phase == JOINT_2 or len(joiner.moves.progress.sources(copy)) >= sources_for(topology, row)


def _pairs(topology: Topology, row: Row) -> list[tuple[NodeId, NodeId]]:
    """Those without whom the others are still most of the voters."""
    if row.leaver is None:
        return []
    leaver, most = row.leaver.node, (len(topology.voters) - 1) // 2
    pairs = [(leaver, other) for other in row.whole if other != leaver]
    return [pair for pair in pairs if sum(node in topology.voter_nodes for node in pair) <= most]


async def _split_leaver(fault: Fault, ground: Ground) -> None:
    """Cut a member that is to leave off from an owner that stays: what the one writes meanwhile it keeps for
    the other, and both go on with all others."""
    if found := await first_found(lambda: _leaver_and_owner(ground), fault):
        await _cut(fault, ground, found, between(found[:1], found[1:]))


def _leaver_and_owner(ground: Ground) -> list[NodeId]:
    """A member that is to leave and is asked first for a partition, and an owner of it that stays one; nobody
    when there is none."""
    topology = _newest(_documents(ground))
    if topology is None:
        return []
    leaving = {member.seat for member in topology.members if member.state == "leaving"}
    pairs = [
        (row.owners[0].node, other.node)
        for row in topology.rows
        if row.owners[0] in leaving
        for other in row.owners[1:]
        if other in row.wanted
    ]
    return list(ground.draws.choice(pairs)) if pairs else []


async def _cut(fault: Fault, ground: Ground, found: Sequence[NodeId], pairs: Pairs) -> None:
    ground.trace.fault(fault.kind, ",".join(found))
    ground.cut(pairs)
    await asyncio.sleep(fault.amount)
    ground.join(pairs)


def _documents(ground: Ground) -> list[Topology]:
    """The documents of nodes that are up."""
    known = [process.node.membership.topology.current for process in ground.nodes.values() if process.node]
    return [each for each in known if each is not None]


def _newest(held: Sequence[Topology]) -> Topology | None:
    return max(held, key=lambda each: each.epoch, default=None)


KINDS: Final = (
    FaultKind("split_joint", _split_joint, draw=waiting(6.0, 10.0), chance=_OFTEN),
    FaultKind("strand_owner", _strand_owner, draw=waiting(6.0, 10.0), chance=_OFTEN),
    FaultKind("split_leaver", _split_leaver, draw=waiting(6.0, 10.0), chance=_OFTEN),
)
