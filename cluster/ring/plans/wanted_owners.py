"""The owners that each partition is to have once a change of the members is made.

A change that only puts nodes in the place of others moves what those own and nothing else, whether the table
is balanced or not.  Any other change balances it.  No change leaves fewer members than a partition has
owners: docs/decisions/replicas-are-never-lowered.md.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.rebalancing import full_owners, rebalanced, staying
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.ring.topology_entries import Member

__all__ = ["wanted_owners"]


def wanted_owners(
    topology: Topology, members: Sequence[Member], changes: MemberChanges
) -> tuple[tuple[NodeId, ...], ...]:
    """By partition, in the order of its row; `members` are those that come of `changes`.

    Raises InvalidArgument when fewer members would be left than partitions have owners, and when a member
    whose disk was given up would get a partition: nobody can fill it (rule T9).
    """
    _check_enough(topology, members, changes)
    if changes.replace and not (changes.add or changes.remove or changes.weights or changes.zones):
        heirs = {node: heir.id for node, heir in changes.replace.items()}
        return tuple(tuple(heirs.get(node, node) for node in full_owners(row)) for row in topology.rows)
    wanted = rebalanced(topology, members, {heir.id: node for node, heir in changes.replace.items()})
    _check_disks(topology, members, wanted)
    return wanted


def _check_disks(topology: Topology, members: Sequence[Member], wanted: Sequence[Sequence[NodeId]]) -> None:
    lost = {member.id for member in members if member.is_given_up}
    rows = zip(topology.rows, wanted, strict=True)
    given = sorted({node for row, after in rows for node in after if node in lost and node not in row.nodes})
    if not given:
        return
    raise InvalidArgument(
        f"partitions would go to {', '.join(given)}, whose disks were given up",
        detail={"members": given},
        hint=f"`ringmill cluster replace {given[0]}` gives it an empty one; do that first, or remove "
        "all of them with one command",
    )


def _check_enough(topology: Topology, members: Sequence[Member], changes: MemberChanges) -> None:
    """A cluster that was formed of fewer nodes than its N may keep as many as it has.

    So may one that has lost some, of those that have disks.
    """
    left, least = len(staying(members)), min(topology.n, len(staying(topology.members)))
    if left >= least:
        able, present = _with_disks(members), _with_disks(topology.members)
        if able >= min(topology.n, present):
            return
        left, least = able, min(topology.n, present)
    objects = [keyspace for keyspace in topology.keyspaces if keyspace.kind == "objects"]
    stuck = [
        f"{keyspace.name} ({level} = {number})"
        for keyspace in objects
        for level, number in (("w", keyspace.w), ("r", keyspace.r))
        if number > left
    ]
    asks = f"; keyspaces that ask for more: {', '.join(stuck)}" if stuck else ""
    going = changes.remove[0] if changes.remove else "NODE"
    members_left = "1 member" if left == 1 else f"{left} members"
    raise InvalidArgument(
        f"{members_left} would be left, and N is {topology.n}: each partition of all keyspaces keeps "
        f"{least} owners{asks}",
        detail={"members": left, "n": topology.n, "keyspaces": [keyspace.name for keyspace in objects]},
        hint=f"`ringmill cluster replace {going}=NEW` puts another node in its place, or add one first",
    )


def _with_disks(members: Sequence[Member]) -> int:
    return sum(not member.is_given_up for member in staying(members))
