"""What an operator wants to change about the members, and the members that come of it.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.topology import Member, Topology

__all__ = ["MemberChanges", "members_after"]


@dataclass(frozen=True, slots=True)
class MemberChanges:
    """Members to add and to remove, those that others take the place of, and new weights and zones by node.

    An heir keeps weight and zone of the node that it replaces, unless others are named for it.
    """

    add: Sequence[Member] = ()
    remove: Sequence[NodeId] = ()
    replace: Mapping[NodeId, Member] = field(default_factory=dict)
    weights: Mapping[NodeId, int] = field(default_factory=dict)
    zones: Mapping[NodeId, str] = field(default_factory=dict)


def members_after(topology: Topology, changes: MemberChanges) -> list[Member]:
    """The members as they are to be: who goes is left out.

    Raises InvalidArgument for changes of nodes that are not members, additions that are, and a node that is
    changed in two ways.
    """
    going = [*changes.remove, *changes.replace]
    for node in going:
        topology.member(node)
    if len(set(going)) < len(going):
        raise InvalidArgument("a member can be removed or replaced once")
    heirs = [
        replace(heir, weight=former.weight, zone=former.zone)
        for former, heir in ((topology.member(node), heir) for node, heir in changes.replace.items())
    ]
    fresh = [*changes.add, *heirs]
    _check_new(topology, fresh)
    members = [*(member for member in topology.members if member.id not in going), *fresh]
    for node in (*changes.weights, *changes.zones):
        if all(member.id != node for member in members):
            topology.member(node)
            raise InvalidArgument(f"{node} is to leave, so it gets no other weight or zone")
    after = [
        replace(
            member,
            weight=changes.weights.get(member.id, member.weight),
            zone=changes.zones.get(member.id, member.zone),
        )
        for member in members
    ]
    for member in after:
        member.check()
    return after


def _check_new(topology: Topology, fresh: Sequence[Member]) -> None:
    ids, addresses = set(), set(topology.addresses().values())
    for member in fresh:
        if topology.has_member(member.id) or member.id in ids:
            raise InvalidArgument(
                f"{member.id} is a member already", hint="a new node needs an id of its own"
            )
        if member.address in addresses:
            raise InvalidArgument(f"{member.address} is the address of a member already")
        ids.add(member.id)
        addresses.add(member.address)
