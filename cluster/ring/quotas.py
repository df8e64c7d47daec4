"""Computes how many replicas each node holds: fair by weight, as far as zones allow.

A zone may hold at most `zone_limit` replicas of a partition: 1 while there are at least as many zones as
replicas.  So a zone's share is capped at zone_limit x Q, a node's at Q, and what a cap cuts off goes to
the others by weight.  Zones win over balance: an operator who names zones wants replicas apart.

Each quota is its exact share rounded down or up, and so is each zone's sum.  Placement can always fill
the quotas: giving each partition quota / Q of each node is a fractional flow through a network with whole
capacities, and where such a flow exists, a whole one does (Ford and Fulkerson 1956).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor
from typing import TypeVar

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.topology_entries import Member

__all__ = ["fair_shares", "quotas", "zone_limit"]

K = TypeVar("K")


def quotas(members: Sequence[Member], partitions: int, replicas: int) -> dict[NodeId, int]:
    """Replicas each node shall hold; they add up to `partitions` x `replicas`.

    Needs at least `replicas` members.
    """
    shares = fair_shares(members, partitions, replicas)
    rounded: dict[NodeId, int] = {}
    total, given = Fraction(0), 0
    for node, share in shares.items():  # by zone, so that rounding the running sum rounds zones too
        total += share
        rounded[node] = floor(total) - given
        given += rounded[node]
    assert given == partitions * replicas, f"{given} of {partitions * replicas} replicas given out"
    return rounded


def fair_shares(members: Sequence[Member], partitions: int, replicas: int) -> dict[NodeId, Fraction]:
    """The exact share of each node in replicas, in order of (zone, id)."""
    zones: dict[str, dict[NodeId, int]] = {}
    for member in sorted(members, key=lambda member: (member.zone, member.id)):
        zones.setdefault(member.zone, {})[member.id] = member.weight
    limit = zone_limit([len(nodes) for nodes in zones.values()], replicas)
    by_zone = _pour(
        Fraction(partitions * replicas),
        {zone: sum(nodes.values()) for zone, nodes in zones.items()},
        {zone: partitions * min(limit, len(nodes)) for zone, nodes in zones.items()},
    )
    return {
        node: share
        for zone, nodes in zones.items()
        for node, share in _pour(by_zone[zone], nodes, dict.fromkeys(nodes, partitions)).items()
    }


def zone_limit(zone_sizes: Sequence[int], replicas: int) -> int:
    """The least number of replicas of one partition that some zone has to hold."""
    assert sum(zone_sizes) >= replicas, f"{sum(zone_sizes)} nodes cannot hold {replicas} replicas"
    limit = 1
    while sum(min(limit, size) for size in zone_sizes) < replicas:
        limit += 1
    return limit


def _pour(amount: Fraction, weights: Mapping[K, int], caps: Mapping[K, int]) -> dict[K, Fraction]:
    """Split `amount` by weight; who is over its cap gets the cap, the rest is split among the others."""
    shares: dict[K, Fraction] = {}
    open_weights = dict(weights)
    while open_weights:
        per_weight = amount / sum(open_weights.values())
        full = [key for key, weight in open_weights.items() if weight * per_weight >= caps[key]]
        for key in full:
            shares[key] = Fraction(caps[key])
            amount -= caps[key]
            del open_weights[key]
        if not full:
            shares.update({key: weight * per_weight for key, weight in open_weights.items()})
            break
    return {key: shares[key] for key in weights}
