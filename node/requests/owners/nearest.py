"""The order in which a coordinator asks owners."""

from __future__ import annotations

from collections.abc import Sequence

from ringmill.cluster.ids import NodeId
from ringmill.node.contracts import LivenessView

__all__ = ["nearest_first"]


def nearest_first(liveness: LivenessView, own: NodeId, owners: Sequence[NodeId]) -> list[NodeId]:
    """This node first, then the others by health (rule T7)."""
    ordered = liveness.nearest_first(owners)
    if own in ordered and ordered[0] != own:
        ordered.remove(own)
        ordered.insert(0, own)
    return ordered
