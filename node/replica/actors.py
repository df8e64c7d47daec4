"""Which actor writes dots for each copy, and how far it has counted.

A vector entry covers a range of dots, so an actor that may have forgotten some of its dots must never be
used again: its next write would carry a dot that others take for one they have seen, and be lost.  A node
cannot prove that it has forgotten nothing: its folder may be an older copy of itself.  So every start has
actors of its own, which no earlier start continues: they are named by the start's number and its random boot
id, and nothing of them is kept on the disk.

Rules I4 and V8: docs/protocol/identity.md, docs/protocol/versions.md.  Decision:
docs/decisions/a-fresh-actor-at-every-start.md.
"""

from __future__ import annotations

from ringmill.cluster.ids import NodeId, Start
from ringmill.cluster.versions.dots import Dot, VersionVector, actor_of
from ringmill.node.replica.stored_key import Copy

__all__ = ["CopyActors"]


class CopyActors:
    """Dots for the writes that one start of a node coordinates.

    Copies of different partitions hold different keys and may share an actor; a later copy of the same
    partition has another one, as it knows nothing of what the former wrote.
    """

    def __init__(self, node: NodeId, start: Start) -> None:
        self._node = node
        self._start = start
        self._counts: dict[Copy, int] = {}

    def next_dot(self, copy: Copy) -> Dot:
        """The next dot of a copy, never given before."""
        count = self._counts[copy] = self._counts.get(copy, 0) + 1
        return Dot(actor_of(self._node, self._start, copy.copy_epoch), count)

    def never_made(self, copy: Copy, seen: VersionVector) -> Dot | None:
        """The dot by which `seen` cannot be honest: one of this start's actor that it has not given yet.

        What earlier starts have given is not known for certain any more, so none of it is judged.
        """
        actor = actor_of(self._node, self._start, copy.copy_epoch)
        count = seen.counter(actor)
        return Dot(actor, count) if count > self._counts.get(copy, 0) else None
