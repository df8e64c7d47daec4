"""A member that is up takes the vote of one that has been down for long: the next document.

Only the voters change; owners stay, up or down.  Pure.  Rule T3: docs/protocol/topology.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.ring.topology import Member, Owner, Topology

__all__ = ["spare_voter", "with_vote_passed_on"]


def spare_voter(topology: Topology, lost: Owner, up: Collection[NodeId]) -> Member | None:
    """The member of `up` that gets the vote of `lost`; None when all of them vote already.

    Zones that have the fewest voters come first, so that a lost zone takes few votes with it; then the order
    of the members.
    """
    voters = topology.voter_nodes
    zones = Counter(topology.member(node).zone for node in voters if node != lost.node)
    able = [member for member in topology.members if member.id in up and member.state == "up"]
    spare = [member for member in able if member.id not in voters]
    return min(spare, key=lambda member: zones[member.zone], default=None)


def with_vote_passed_on(topology: Topology, lost: Owner, up: Collection[NodeId]) -> Topology | None:
    """The next document; None when `lost` has no vote, or no member that is up lacks one."""
    spare = spare_voter(topology, lost, up)
    if lost not in topology.voters or spare is None:
        return None
    following = replace(
        topology,
        epoch=Epoch(topology.epoch + 1),
        voters=tuple(spare.seat if voter == lost else voter for voter in topology.voters),
    )
    following.check()
    return following
