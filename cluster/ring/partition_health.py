"""Counts the partitions that are complete, under-replicated or without quorum, as one node sees them.

Pure: a function of the topology and of a view of which nodes are up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.ring.topology_entries import Row

__all__ = ["PartitionCounts", "count_partitions"]


@dataclass(frozen=True, slots=True)
class PartitionCounts:
    """They add up to the number of partitions."""

    ok: int
    under_replicated: int
    no_quorum: int


def count_partitions(topology: Topology, is_up: Callable[[NodeId], bool]) -> PartitionCounts:
    """A partition is ok when it has as many owners as the topology wants and all are up.

    It has no quorum when too few are up for the default levels of some keyspace.
    """
    up = {member.id for member in topology.members if is_up(member.id)}
    ok = no_quorum = 0
    for row in topology.rows:
        able = sum(node in up for node in row.whole)
        ok += able == topology.n
        no_quorum += able < _needed(topology, row)
    return PartitionCounts(ok, topology.partitions - ok - no_quorum, no_quorum)


def _needed(topology: Topology, row: Row) -> int:
    return max(row.level(max(keyspace.r, keyspace.w)) for keyspace in topology.keyspaces)
