"""The table that is wanted when the members have changed: balanced, and as near to the present one as can be.

Every node holds its fair share rounded down or up, no node holds a partition twice, and no zone more owners
of a partition than it must: quotas.py and placement.py have the same laws for the first table.  Among the
tables that keep them, this is one with the fewest copies to make; see seating.py.  So a change can go on from
any half-way: after some moves of a plan, the table that is wanted from there is as far as the rest of them.

Pure: the same document and members, in any order, make the same table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Final, NamedTuple

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.plans.seating import Seating, partitions_in
from ringmill.cluster.ring.quotas import fair_shares, zone_limit
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.ring.topology_entries import Member, Row

__all__ = ["LEAVING", "SeatChange", "seat_changes", "full_owners", "rebalanced", "staying"]

LEAVING: Final = ("leaving", "gone")


class SeatChange(NamedTuple):
    """One seat of a partition changes hands; a table that gets wider or narrower has only one of the two."""

    joiner: NodeId | None
    leaver: NodeId | None


def rebalanced(
    topology: Topology, members: Sequence[Member], in_place_of: Mapping[NodeId, NodeId] | None = None
) -> tuple[tuple[NodeId, ...], ...]:
    """The owners that each partition should have, once `members` are the members of the cluster.

    Who is leaving shall own nothing.  `in_place_of` has the nodes that take the seats of another one by one,
    and whose.  A row keeps its order, and a joiner takes the place of the one that leaves.  With fewer
    members than the topology's n, all own all.  Raises InvalidArgument when nobody stays.
    """
    owners = sorted(staying(members), key=lambda member: (member.zone, member.id))
    if not owners:
        raise InvalidArgument("no member would be left to own the partitions")
    heirs = {former: heir for heir, former in (in_place_of or {}).items()}
    present = [tuple(heirs.get(node, node) for node in full_owners(row)) for row in topology.rows]
    replicas = min(topology.n, len(owners))
    seating = _start(owners, present, replicas)
    shares = fair_shares(owners, topology.partitions, replicas)
    lower = [floor(shares[member.id]) for member in owners]
    _drop_what_breaks_zones(seating, lower)
    _drop_surplus(seating, lower)
    seating.fill(lower)
    seating.fill([ceil(shares[member.id]) for member in owners])
    assert not seating.open, f"{seating.open.bit_count()} partitions lack an owner: quotas are infeasible"
    zones = {member.id: member.zone for member in (*topology.members, *members)}
    return tuple(
        _in_order(before, after, zones) for before, after in zip(present, seating.rows(), strict=True)
    )


def staying(members: Sequence[Member]) -> list[Member]:
    """Those that shall own partitions."""
    return [member for member in members if member.state not in LEAVING]


def full_owners(row: Row) -> tuple[NodeId, ...]:
    """The nodes whose copies are whole, in the order of the row."""
    return tuple(owner.node for owner in row.owners)


def seat_changes(
    before: Sequence[NodeId], after: Sequence[NodeId], zones: Mapping[NodeId, str]
) -> list[SeatChange]:
    """The changes, one seat each, that make one row of the other.

    Nodes of one zone change places with each other first, so that no row on the way has more owners in a zone
    than both its ends.
    """
    joiners = [node for node in after if node not in before]
    leavers = [node for node in before if node not in after]
    pairs: dict[NodeId, NodeId] = {}
    for same_zone in (True, False):
        for leaver in leavers:
            free = [node for node in joiners if node not in pairs.values()]
            fit = [node for node in free if not same_zone or zones.get(node) == zones.get(leaver)]
            if fit and leaver not in pairs:
                pairs[leaver] = fit[0]
    changed = [SeatChange(pairs.get(leaver), leaver) for leaver in leavers]
    return changed + [SeatChange(node, None) for node in joiners if node not in pairs.values()]


def _start(owners: Sequence[Member], present: Sequence[tuple[NodeId, ...]], replicas: int) -> Seating:
    """The seats that are held, as far as their nodes stay."""
    at = {member.id: index for index, member in enumerate(owners)}
    zones = [member.zone for member in owners]
    former = [0] * len(owners)
    for partition, row in enumerate(present):
        for name in row:
            if name in at:
                former[at[name]] |= 1 << partition
    limit = zone_limit([zones.count(zone) for zone in dict.fromkeys(zones)], replicas)
    seating = Seating([member.id for member in owners], zones, len(present), replicas, limit, former)
    for node, mask in enumerate(former):
        for partition in partitions_in(mask):
            seating.give(node, partition)
    return seating


def _drop_what_breaks_zones(seating: Seating, lower: Sequence[int]) -> None:
    """Take each partition with too many owners, or too many in a zone, from those with most to give."""
    for partition in range(seating.partitions):
        while over := seating.too_many_of(partition):
            seating.take(max(over, key=lambda node: (seating.count(node) - lower[node], node)), partition)


def _drop_surplus(seating: Seating, lower: Sequence[int]) -> None:
    """A node with more than its share gives partitions up that still have all owners, all around the ring."""
    for node, share in enumerate(lower):
        surplus = seating.count(node) - share
        whole = partitions_in(seating.held[node] & ~seating.open)
        others = partitions_in(seating.held[node] & seating.open)
        for partition in [*_spread(whole, surplus), *_spread(others, surplus - len(whole))]:
            seating.take(node, partition)


def _spread(partitions: Sequence[int], number: int) -> list[int]:
    """`number` of them, or all, evenly."""
    number = min(number, len(partitions))
    return [partitions[index * len(partitions) // number] for index in range(number)]


def _in_order(
    before: Sequence[NodeId], after: Sequence[NodeId], zones: Mapping[NodeId, str]
) -> tuple[NodeId, ...]:
    """The nodes of `after` in the order of `before`."""
    row: list[NodeId | None] = list(before)
    for joiner, leaver in seat_changes(before, after, zones):
        if leaver is None:
            row.append(joiner)
        else:
            row[row.index(leaver)] = joiner
    return tuple(node for node in row if node is not None)
