"""What a session has seen of one key, as a coordinator gets it with a request.

A read under a session is answered by what covers all of it, a write replaces it.  `exact` is a context: the
session has seen every dot in it, so it may be replaced.  `least` covers in addition the session's own writes
whose receipts had no context.  A vector that covers such a dot covers others before it, which the session may
not have seen, so `least` is good for comparing and never for replacing.

Rules S1 and S2: docs/protocol/sessions.md.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.versions.context_token import ContextToken, decode_context
from ringmill.cluster.versions.dots import EMPTY_VECTOR, Dot, VersionVector, parse_dot
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import StoredObject

__all__ = ["Forgotten", "Needed", "needed_of"]


class Forgotten(IntEnum):
    """What a session no longer knows about the keys that it has forgotten."""

    NOTHING = 0
    STRICT = 1  # all that it saw of them was at the keyspace's levels
    WEAK = 2  # some of it was at lower ones


class Needed(NamedTuple):
    """What an answer has to cover (rule S1)."""

    exact: ContextToken
    least: VersionVector
    forgotten: Forgotten = Forgotten.NOTHING

    def missing(self, known: VersionVector) -> Dot | None:
        """A write that the session has seen and `known` does not cover; None when it covers all."""
        for actor, counter in self.least.entries:
            if known.counter(actor) < counter:
                return Dot(actor, counter)
        return None

    def is_settled_at(self, mark: HybridTime) -> bool:
        """Whether an owner with this watermark holds or covers all of it, or has forgotten it as deleted
        (rule P3).  Not known of writes whose receipts had no context, as nothing tells their times."""
        return bool(mark) and self.exact.time <= mark and self.exact.vector.covers_all(self.least)

    def known_with(self, present: StoredObject) -> ContextToken | None:
        """The context of a write over `present` that replaces what the session has seen, too; None when
        `present` has to learn of more of it first (rule S2)."""
        vector = present.context.join(self.exact.vector)
        if not vector.covers_all(self.least):
            return None
        return ContextToken(vector, max(present.newest, self.exact.time))


def needed_of(
    context: bytes, dots: Iterable[str], forgotten: int, keyspace: KeyspaceId, key: bytes
) -> Needed:
    """Decode what came with a request.  Raises InvalidArgument."""
    exact = decode_context(context, keyspace, key) if context else ContextToken()
    try:
        own = VersionVector.of(parse_dot(dot) for dot in dots)
        known = Forgotten(forgotten)
    except ValueError as error:
        raise InvalidArgument(
            f"what the session has seen does not decode: {error}", hint="begin a new session"
        ) from error
    return Needed(exact, exact.vector.join(own) if own is not EMPTY_VECTOR else exact.vector, known)
