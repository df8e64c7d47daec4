"""Who can fill a copy of a partition, and about how much there is to copy.

Pure.  Rules H6 and T8: docs/protocol/repair.md, docs/protocol/topology.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.topology import Row, Topology

__all__ = ["estimated_shares", "known_sizes", "least_acks", "owners_needed"]


def least_acks(topology: Topology) -> int:
    """The owners that acknowledge a write of the keyspace of objects that asks for the fewest."""
    return min(
        (keyspace.w for keyspace in topology.keyspaces if keyspace.kind == "objects"), default=topology.n
    )


def owners_needed(row: Row, least_w: int) -> int:
    """How many owners of a row it takes to know each write that `least_w` owners have acknowledged."""
    return len(row.owners) - min(least_w, len(row.owners) // 2 + 1) + 1


def estimated_shares(topology: Topology, held: Mapping[NodeId, int]) -> list[float]:
    """What each partition has of something, from what each node holds of it in all its partitions.

    Of several owners the one with the most counts, as another may miss some.
    """
    means = {node: amount / max(1, topology.owned_by(node)) for node, amount in held.items()}
    return [max((means.get(owner.node, 0.0) for owner in row.owners), default=0.0) for row in topology.rows]


def known_sizes(
    topology: Topology, reported: Mapping[NodeId, Mapping[int, int]], held: Mapping[NodeId, int]
) -> list[float]:
    """The bytes of each partition, as the owner tells that has the most of it.

    Where no owner tells, they are estimated from what the owners, or else all members, hold in all.
    """
    estimates = estimated_shares(topology, held)
    usual = sum(estimates) / len(estimates)
    return [
        max(
            (reported[node].get(at, 0) for node in full_nodes if node in reported),
            default=estimates[at] or usual,
        )
        for at, full_nodes in enumerate([[owner.node for owner in row.owners] for row in topology.rows])
    ]
