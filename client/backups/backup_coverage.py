"""What a backup that was read from these nodes holds.  Pure.

A write that w owners have acknowledged is on one of any N - w + 1 owners of its partition.  In a keyspace
with sloppy quorums other members may stand in for owners, so there all members but w - 1 are needed.  A
member that was not read may keep a former copy with what less than a majority has acknowledged (rule M6).
Rule B1: docs/protocol/backups.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from ringmill.client.backups.backup_manifest import BackedNode
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.quorum.levels import majority
from ringmill.cluster.ring.topology import Topology

__all__ = ["held_level", "missing_members"]

NO_REASONS: Final[Mapping[str, str]] = MappingProxyType({})


def missing_members(topology: Topology, nodes: Sequence[BackedNode]) -> list[str]:
    """Members that are not among the nodes.  One that owns nothing may keep hints, or a former copy."""
    there = {node.node for node in nodes}
    return [member.id for member in topology.members if member.id not in there]


def held_level(
    topology: Topology,
    nodes: Sequence[BackedNode],
    reasons: Mapping[str, str] = NO_REASONS,
    untold: Collection[str] = (),
) -> int:
    """The least w such that every write acknowledged by w nodes is in the tables of these nodes.

    `reasons` say why others could not be read; `untold` are nodes that did not tell whether they keep a
    former copy.  Raises Unavailable when that is more than a majority of the owners of some partition.
    """
    copies = {node.node: node.copies(topology) for node in nodes}
    missing = len(missing_members(topology, nodes))
    owing = missing + sum(node.node in untold for node in nodes)  # may have left with a copy that is owed
    level = min(owing + 1, majority(topology.n))
    for number, row in enumerate(topology.rows):
        whole = [node for node in row.whole if number in copies.get(node, {})]
        needed = row.size - len(whole) + 1
        level = max(level, needed)
        if needed > majority(row.size):
            raise _too_few(
                topology,
                nodes,
                reasons,
                f"partition {number} was read from {len(whole)} of its {row.size} owners: too few to hold "
                f"every write with w={majority(row.size)}",
            )
    if _is_sloppy(topology):
        without = missing + sum(node.lacks_hints for node in nodes)
        level = max(level, without + 1)
        if without + 1 > majority(topology.n):
            raise _too_few(
                topology,
                nodes,
                reasons,
                f"{without} members are missing or have damaged hints: too many, as keyspaces with sloppy "
                "quorums keep writes there",
            )
    return level


def _is_sloppy(topology: Topology) -> bool:
    return any(each.is_sloppy for each in topology.keyspaces)


def _too_few(
    topology: Topology, nodes: Sequence[BackedNode], reasons: Mapping[str, str], what: str
) -> Unavailable:
    missing = missing_members(topology, nodes)
    listed = ", ".join(f"{name} ({reasons[name]})" if name in reasons else name for name in missing)
    return Unavailable(
        f"{what}; missing: {listed or 'none'}",
        detail={"missing": missing},
        hint="bring the missing nodes back, or wait until damage is healed, and run the backup again",
    )
