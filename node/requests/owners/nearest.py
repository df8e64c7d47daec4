"""The order in which a coordinator asks owners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from ringmill.cluster.ids import NodeId
from ringmill.node.contracts import LivenessView
from ringmill.node.requests.owners.slow_owners import SlowOwners

__all__ = ["nearest_first"]

_NOBODY: Final[Mapping[str, int]] = MappingProxyType({})


def nearest_first(
    liveness: LivenessView,
    own: NodeId,
    owners: Sequence[NodeId],
    slow: SlowOwners | None = None,
    turn: int = 0,
    busy: Mapping[str, int] = _NOBODY,
) -> Sequence[NodeId]:
    """This node first, then the others by health (rule T7), the slow ones last (rule G4).

    Of those that are equally near the less `busy` come first (rule G4).  Which of them is the first changes
    with `turn` (rule G7).
    """
    if turn:
        others = [node for node in owners if node != own]
        start = turn % max(1, len(others))
        own_copy = [own] if own in owners else []
        owners = own_copy + others[start:] + others[:start]
    if busy:
        owners = sorted(owners, key=lambda node: busy.get(node, 0))
    ordered = liveness.nearest_first(owners)
    if slow is not None and (avoided := slow.avoided()):
        # behind the others that are up, in whatever zone, but before those that are down
        ordered = sorted(ordered, key=lambda node: (not liveness.is_up(node), node in avoided))
    if own in ordered and ordered[0] != own:
        ordered = [own, *(node for node in ordered if node != own)]
    return ordered
