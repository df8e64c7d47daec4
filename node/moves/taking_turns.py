"""Joiners that have an epoch decided one after the other, so that they do not preempt each other.

Each change of a joiner is an epoch.  When a node leaves, all others fill copies and are ready at about the
same time.  Two that propose at once cost every voter some synced writes for nothing.  So a joiner waits for
its turn among those that the document names: a short time for each of those before it.  Who is first moves on
with each epoch.  No rule depends on it: who does not hear of an epoch proposes all the same.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.topology import Topology
from ringmill.node.contracts import TopologyView

__all__ = ["joiners_of", "take_turn"]

SLOT_S: Final = 0.1
"""About what it takes to have an epoch decided and adopted on one host."""


def joiners_of(topology: Topology) -> set[NodeId]:
    """The nodes that partitions move to, or are to."""
    joiners = {row.joiner.node for row in topology.rows if row.joiner is not None}
    return joiners | {seat.node for row in topology.rows for seat in row.wanted if seat not in row.owners}


async def take_turn(node: NodeId, view: TopologyView) -> None:
    """Return when it is the turn of `node`; at once when no other node joins."""
    seen, before = -1, 0
    while True:
        topology = view.serving_topology()
        if topology.epoch != seen:
            seen, before = topology.epoch, _before(node, topology)
        if before <= 0:
            return
        await asyncio.sleep(SLOT_S)
        before -= 1


def _before(node: NodeId, topology: Topology) -> int:
    """How many joiners have their turn before `node`."""
    joiners = sorted(joiners_of(topology) | {node})
    return (joiners.index(node) - topology.epoch) % len(joiners)
