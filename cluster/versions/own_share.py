"""How much of an object one node has written itself: what merging can add up.

What a merge brings together of one node's values, that node once held at the same time, at most.  So while
each node keeps its own share within a bound, no merge goes beyond as many bounds as there are nodes that
write (rule V5, docs/protocol/versions.md).
"""

from __future__ import annotations

from ringmill.cluster.ids import Actor
from ringmill.cluster.versions.objects import StoredObject

__all__ = ["own_share_bytes"]


def own_share_bytes(stored: StoredObject, actor: Actor) -> int:
    """Bytes of the values written by the node of this actor, in any of its starts."""
    own = actor.partition("#")[0] + "#"
    return sum(len(sibling.value or b"") for sibling in stored.siblings if sibling.dot.actor.startswith(own))
