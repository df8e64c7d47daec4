"""A change of the members as the next document: who comes, who goes, and the owners that come of it.

None in place of a document means that the members are as wanted, so a change that is sent again does no harm.
Pure.  Rules T1 and M1: docs/protocol/topology.md, docs/protocol/moves.md.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ringmill.cluster.errors import Conflict
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.moves import given_up, with_plan
from ringmill.cluster.ring.plans.member_changes import MemberChanges, members_after
from ringmill.cluster.ring.plans.wanted_owners import wanted_owners
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.ring.topology_entries import Member

__all__ = ["still_moving", "with_members"]


def with_members(
    topology: Topology, changes: MemberChanges, dead: Collection[NodeId] = ()
) -> Topology | None:
    """The document that has the change as its plan.

    Members that go stay, as leaving, until they own nothing; of those in `dead` the disks are gone, so nobody
    waits for them, also when that happened on their way out.  Raises InvalidArgument for changes that cannot
    be made, Conflict while partitions move.
    """
    if _is_made(topology, changes):
        return given_up(topology, {*dead} & {*changes.remove, *changes.replace})
    if topology.is_moving:
        raise still_moving()
    after = members_after(topology, changes)
    wanted = wanted_owners(topology, after, changes)
    stay = {member.id: member for member in after}
    members = [
        stay.get(member.id) or replace(member, state="gone" if member.id in dead else "leaving")
        for member in topology.members
    ]
    known = {member.id for member in topology.members}
    members += [replace(member, state="joining") for member in after if member.id not in known]
    return with_plan(topology, members, wanted)


def still_moving() -> Conflict:
    """Why there can be no other change now."""
    return Conflict(
        "partitions are moving by an earlier change of the members",
        hint="`ringmill cluster moves` shows it; wait for its end, or abort it",
    )


def _is_made(topology: Topology, changes: MemberChanges) -> bool:
    """Whether the members are, or will be once all has moved, what the change asks for."""
    by_id = {member.id: member for member in topology.members}
    going = [*changes.remove, *changes.replace]
    coming = [*changes.add, *changes.replace.values()]
    return (
        bool(going or coming or changes.weights or changes.zones)
        and all(node not in by_id or by_id[node].state in ("leaving", "gone") for node in going)
        and all(_is_known(by_id.get(member.id), member) for member in coming)
        and all(node in by_id and by_id[node].weight == weight for node, weight in changes.weights.items())
        and all(node in by_id and by_id[node].zone == zone for node, zone in changes.zones.items())
    )


def _is_known(present: Member | None, wanted: Member) -> bool:
    return present is not None and present.seat == wanted.seat and present.state in ("joining", "up")
