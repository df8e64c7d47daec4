"""When nodes may be restarted one after the other, in which order, and when the next one's turn has come.

Pure: it looks at a status of the cluster.  client/cli/cluster/cluster_rolling.py acts.

A node has *caught up* when every member that answers sees it up, it has the epoch of the others, it fills no
partition, and no hint waits for it: then it holds all that was acknowledged while it was away, as far as
hints tell, and the next node may go.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringmill.client.administration.second_looks import IN_SERVICE
from ringmill.client.administration.status import ClusterStatus
from ringmill.cluster.errors import InvalidArgument, Unavailable

__all__ = ["check_may_begin", "in_order", "may_pass", "why_behind"]

LEAST_OWNERS = 3


def check_may_begin(seen: ClusterStatus) -> None:
    """Raise Unavailable, outcome "failed", when requests would fail while one more node is away."""
    away = [f"{node.id} is {node.state}" for node in seen.nodes if node.state not in IN_SERVICE]
    behind = [f"{node.id} {why}" for node in seen.nodes if (why := why_behind(seen, node.id))]
    found = away or behind
    if seen.ranges.under_replicated or seen.ranges.no_quorum:
        lacking = seen.ranges.under_replicated + seen.ranges.no_quorum
        found = [*found, f"{lacking} partitions lack an owner"]
    if seen.n < LEAST_OWNERS:
        found = [*found, f"the partitions have {seen.n} owners, and a majority needs all of them"]
    if found:
        raise Unavailable(
            f"a rolling restart would make requests fail: {'; '.join(found)}",
            detail={"reasons": found},
            hint="`ringmill cluster status` says more; --force restarts the nodes all the same",
            outcome="failed",
        )


def may_pass(seen: ClusterStatus) -> bool:
    """Whether what speaks against the beginning may be over in seconds: all members answer, and none is to be
    filled.  So it is when one has just started: others do not see it up yet, or have hints for it."""
    return seen.n >= LEAST_OWNERS and all(
        node.pid is not None and not node.unfilled and not node.damaged_ranges for node in seen.nodes
    )


def why_behind(seen: ClusterStatus, name: str) -> str:
    """Why a member has not caught up, in words that go on after its name; "" when it has."""
    (node,) = (each for each in seen.nodes if each.id == name)
    if node.state not in IN_SERVICE:
        return f"is {node.state}"
    if node.epoch != seen.epoch:
        return f"is at epoch {node.epoch} of {seen.epoch}"
    if node.unfilled:
        return f"fills {node.unfilled} partitions"
    if node.awaited_hints:
        return f"waits for {node.awaited_hints} hints"
    return ""


def in_order(seen: ClusterStatus, names: Sequence[str]) -> list[str]:
    """The named members, or all, in the order of their turns: that which takes the jobs is last, so that they
    move once.

    Raises InvalidArgument for a name that is not a member's, or comes twice.
    """
    members = [node.id for node in seen.nodes]
    for name in names:
        if name not in members:
            raise InvalidArgument(f"{name} is not a member of cluster {seen.cluster}: {' '.join(members)}")
        if names.count(name) > 1:
            raise InvalidArgument(f"a node is named twice: {' '.join(names)}")
    return sorted(names or members, key=lambda name: name == seen.coordinator)
