"""News that rides on probes and their answers, each piece on a bounded number of messages.

SWIM (2002), section 4.1: what has been sent least goes first, and a claim stops travelling after a number
of messages logarithmic in the cluster's size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ringmill.cluster.ids import NodeId
from ringmill.cluster.membership.claims import Claim

__all__ = ["Gossip"]


@dataclass(slots=True)
class _Item:
    claim: Claim
    sent: int = 0


@dataclass(slots=True)
class Gossip:
    """Claims under way.  A suspicion travels once for each accuser, as each one confirms it."""

    _items: dict[tuple[NodeId, NodeId], _Item] = field(default_factory=dict)  # by (node, accuser)

    def __bool__(self) -> bool:
        return bool(self._items)

    def add(self, claim: Claim) -> None:
        """Spread a claim; what it beats stops travelling."""
        beaten = [
            key for key, item in self._items.items() if key[0] == claim.node and claim.beats(item.claim)
        ]
        for key in beaten:
            del self._items[key]
        self._items[claim.node, claim.accuser] = _Item(claim)

    def take(self, count: int, limit: int) -> list[Claim]:
        """Up to `count` claims for one message; each travels on `limit` messages."""
        if not self._items:
            return []
        chosen = sorted(self._items.items(), key=lambda entry: entry[1].sent)[:count]
        for key, item in chosen:
            item.sent += 1
            if item.sent >= limit:
                del self._items[key]
        return [item.claim for _, item in chosen]

    def forget(self, node: NodeId) -> None:
        for key in [key for key in self._items if key[0] == node]:
            del self._items[key]
