"""The order in which a coordinator asks owners."""

from __future__ import annotations

from collections.abc import Sequence

from ringmill.cluster.ids import NodeId
from ringmill.node.contracts import LivenessView
from ringmill.node.requests.owners.slow_owners import SlowOwners

__all__ = ["nearest_first"]


def nearest_first(
    liveness: LivenessView, own: NodeId, owners: Sequence[NodeId], slow: SlowOwners | None = None
) -> list[NodeId]:
    """This node first, then the others by health (rule T7), the slow ones last (rule G4)."""
    ordered = liveness.nearest_first(owners)
    if slow is not None and (avoided := slow.avoided()):
        # behind the others that are up, in whatever zone, but before those that are down
        ordered.sort(key=lambda node: (not liveness.is_up(node), node in avoided))
    if own in ordered and ordered[0] != own:
        ordered.remove(own)
        ordered.insert(0, own)
    return ordered
