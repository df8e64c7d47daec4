"""Gives each copy the actor of its dots, and counts the dots.

A vector entry covers a range of dots, so an actor that may have forgotten some of its dots must never be used
again: its next write would carry a dot that others believe they have seen, and be lost.  A node cannot prove
that it has forgotten nothing, because its folder may be an older copy of itself.  So every start has new
actors, named by the start's number and its random boot id; they are not stored on the disk.

Rules I4 and V8: docs/protocol/identity.md, docs/protocol/versions.md.  Decision:
docs/decisions/a-fresh-actor-at-every-start.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import Actor, Epoch, NodeId, Start
from ringmill.cluster.limits import MAX_CONTEXT_ACTORS
from ringmill.cluster.versions.dots import Dot, VersionVector, actor_of
from ringmill.node.replica.stored_key import Copy

__all__ = ["CopyActors"]


class CopyActors:
    """Dots for the writes that one start of a node coordinates.

    Copies of different partitions hold different keys and may share an actor.  A later copy of the same
    partition gets another actor, because it does not know what the earlier copy wrote.
    """

    def __init__(self, node: NodeId, start: Start) -> None:
        self._node = node
        self._start = start
        self._counts: dict[Copy, int] = {}
        self._names: dict[Epoch, Actor] = {}  # by the epoch of the copy

    def next_dot(self, copy: Copy) -> Dot:
        """A new dot for a copy."""
        count = self._counts[copy] = self._counts.get(copy, 0) + 1
        return Dot(self._actor(copy), count)

    def never_made(self, copy: Copy, seen: VersionVector) -> Dot | None:
        """A dot in `seen` that this start has not given yet, which proves that `seen` is forged or damaged.

        Dots of earlier starts are not checked, because this start does not know which they gave.
        """
        actor = self._actor(copy)
        count = seen.counter(actor)
        return Dot(actor, count) if count > self._counts.get(copy, 0) else None

    def admit(self, copy: Copy, known: VersionVector, seen: VersionVector) -> None:
        """Let a client's context pass that is to be joined with what this copy knows of the key.

        Raises InvalidArgument for one that is forged, as `never_made`, and for one that makes the object name
        more actors than a context has room for: each write with another forged one would make it larger.
        """
        hint = "get the key and hand back that answer's context"
        if (forged := self.never_made(copy, seen)) is not None:
            raise InvalidArgument(
                f"the context names write {forged}, which this node has not made", hint=hint
            )
        were, most = len(known.entries), MAX_CONTEXT_ACTORS
        if were + len(seen.entries) > most and ((become := len(known.join(seen).entries)) > max(were, most)):
            raise InvalidArgument(
                f"with the context the key would name {become} actors, the limit is {most}", hint=hint
            )

    def has_made(self, copy: Copy, vector: Iterable[Sequence[Any]]) -> bool:
        """Whether this start has made all dots of its own among these [actor, counter] pairs."""
        ours = self._names.get(copy.copy_epoch) or self._actor(copy)
        for actor, counter in vector:
            if actor == ours:
                return bool(counter <= self._counts.get(copy, 0))
        return True

    def _actor(self, copy: Copy) -> Actor:
        actor = self._names.get(copy.copy_epoch)
        if actor is None:
            actor = self._names[copy.copy_epoch] = actor_of(self._node, self._start, copy.copy_epoch)
        return actor
