"""A node's figures: the numbers it tells of itself, and why it is less than well.

A new figure of the storage engine is a field of `Counters` (node/storage/upkeep/stats.py) and needs nothing
else.  Any other is a field here, one in proto/membership.proto, and its line in membership_service.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ringmill.cluster.ids import NodeId
from ringmill.node.jobs.job_coordinator import JobCoordinator
from ringmill.node.membership.room import Membership
from ringmill.node.repair.room import Repair
from ringmill.node.replica.room import Replica

__all__ = ["NodeFigures", "figures_of"]


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """This node's own numbers at one moment."""

    keys: int = 0
    bytes: int = 0
    hints_by_node: Mapping[NodeId, int] = field(default_factory=dict)  # by whom they wait for
    coordinator: str = ""  # the node that takes new jobs, as this node sees it
    damaged_ranges: int = 0  # key ranges of the store that wait to be healed
    healing: str = ""  # the range that is being healed now, in words
    unfilled: int = 0  # partitions of which something waits to be filled from other owners
    tombstones: int = 0  # deleted keys that are not forgotten yet
    purge_held_back: str = ""  # why they are not, in words
    removing: str = ""  # where dropped keyspaces may have left something, in words
    reasons: Sequence[str] = ()  # why this node is less than well
    is_counting: bool = False  # keys and bytes are those found so far
    engine: Mapping[str, int] = field(default_factory=dict)  # of the storage engine, by name
    engine_failure: str = ""  # the last flush or compaction that failed
    denied: int = 0  # requests that clients may not make
    containment: str = ""  # of the tasks of jobs, in words


def figures_of(
    replica: Replica,
    membership: Membership,
    repair: Repair,
    jobs: JobCoordinator,
    *,
    complaints: Sequence[str],
    denied: int = 0,
    containment: str = "",
) -> NodeFigures:
    """What the rooms say now.  `complaints` are those of the process and of the gate, "" for none;
    `denied` counts requests that clients may not make.

    Counts of a damaged store may be off until it is healed; they are for people and never below 0.
    """
    stats = replica.engine.stats()
    return NodeFigures(
        keys=max(0, replica.objects.keys),
        bytes=max(0, replica.objects.size_bytes),
        hints_by_node=replica.hints.counts(),
        coordinator=jobs.taker or "",
        damaged_ranges=len(replica.engine.corrupt_ranges()),
        healing=repair.healing.now,
        unfilled=repair.healing.unfilled,
        tombstones=replica.objects.dead.total,
        purge_held_back=repair.purging.story,
        removing=repair.keyspaces.story,
        reasons=_reasons(replica, membership, repair, complaints),
        is_counting=not replica.objects.is_counted,
        engine=stats.figures(),
        engine_failure=stats.counters.last_failure,
        denied=denied,
        containment=containment,
    )


def _reasons(
    replica: Replica, membership: Membership, repair: Repair, complaints: Sequence[str]
) -> list[str]:
    """Why this node is less than well, each a sentence without its name."""
    reasons = [complaint for complaint in complaints if complaint]
    reasons += [*membership.watch.reasons, *membership.topology.reasons, *membership.offering.reasons]
    damaged = len(replica.engine.corrupt_ranges())
    if damaged:
        now = f", healing {repair.healing.now}" if repair.healing.now else ""
        reasons.append(f"{damaged} damaged key ranges wait to be healed from the other owners{now}")
        left, owned = repair.healing.unfilled, repair.healing.owned
        if left:
            reasons.append(f"{left} of {owned} partitions are not filled from the other owners yet")
    if repair.anti_entropy.story:
        reasons.append(repair.anti_entropy.story)
    if replica.engine.read_only_reason:
        reasons.append(f"takes no writes: {replica.engine.read_only_reason}")
    return reasons
