"""What differs between two topology documents of one cluster, for people.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.topology import KeyspaceEntry, Member, Row, Topology

__all__ = ["RowChange", "TopologyDifference", "difference"]


@dataclass(frozen=True, slots=True)
class RowChange:
    """A partition whose row is another one: its owners, its phase or its epochs."""

    partition: PartitionId
    before: Row
    after: Row

    @property
    def joined(self) -> tuple[NodeId, ...]:
        """The nodes that own the partition now and did not before."""
        former = {owner.node for owner in self.before.owners}
        return tuple(owner.node for owner in self.after.owners if owner.node not in former)

    @property
    def left(self) -> tuple[NodeId, ...]:
        return RowChange(self.partition, self.after, self.before).joined


@dataclass(frozen=True, slots=True)
class TopologyDifference:
    """Pairs are (before, after).  Keyspaces are the same one when they have the same id."""

    older: Topology
    newer: Topology
    joined: tuple[Member, ...]
    left: tuple[Member, ...]
    members: tuple[tuple[Member, Member], ...]
    made: tuple[KeyspaceEntry, ...]
    dropped: tuple[KeyspaceEntry, ...]
    keyspaces: tuple[tuple[KeyspaceEntry, KeyspaceEntry], ...]
    rows: tuple[RowChange, ...]

    @property
    def has_other_voters(self) -> bool:
        return self.older.voters != self.newer.voters

    @property
    def is_another_cluster(self) -> bool:
        """Whether an operator has made a cluster with another id of this one meanwhile (rule T9)."""
        return self.older.cluster != self.newer.cluster


def difference(older: Topology, newer: Topology) -> TopologyDifference:
    """Both have the same number of partitions, as documents of one cluster do."""
    members, later_members = ({each.id: each for each in one.members} for one in (older, newer))
    keyspaces, later_keyspaces = ({each.id: each for each in one.keyspaces} for one in (older, newer))
    return TopologyDifference(
        older,
        newer,
        joined=tuple(each for each in newer.members if each.id not in members),
        left=tuple(each for each in older.members if each.id not in later_members),
        members=tuple(
            (each, later_members[each.id])
            for each in older.members
            if later_members.get(each.id, each) != each
        ),
        made=tuple(each for each in newer.keyspaces if each.id not in keyspaces),
        dropped=tuple(each for each in older.keyspaces if each.id not in later_keyspaces),
        keyspaces=tuple(
            (each, later_keyspaces[each.id])
            for each in older.keyspaces
            if later_keyspaces.get(each.id, each) != each
        ),
        rows=tuple(
            RowChange(PartitionId(at), before, after)
            for at, (before, after) in enumerate(zip(older.rows, newer.rows, strict=True))
            if before != after
        ),
    )
