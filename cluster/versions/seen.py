"""What a session has seen of one key, as a coordinator gets it with a request.

A read under a session is answered by what covers all of it, a write replaces it.  `exact` is a context: the
session has seen every dot in it, so it may be replaced.  `least` covers in addition the session's own writes
whose receipts had no context.  A vector that covers such a dot covers others before it, which the session may
not have seen, so `least` is good for comparing and never for replacing.

Rules S1 and S2: docs/protocol/sessions.md.  Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.versions.context_token import ContextSeal, ContextToken
from ringmill.cluster.versions.dots import EMPTY_VECTOR, Dot, VersionVector, parse_dot
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.cluster.versions.objects import StoredObject
from ringmill.cluster.versions.told_entries import MOST_TOLD

__all__ = ["Forgotten", "Needed", "may_be_cut", "needed_of"]


class Forgotten(IntEnum):
    """What a session no longer knows about the keys that it has forgotten."""

    NOTHING = 0
    STRICT = 1  # no answer about them was weak
    WEAK = 2  # some were


class Needed(NamedTuple):
    """What an answer has to cover (rule S1)."""

    exact: ContextToken
    least: VersionVector
    forgotten: Forgotten = Forgotten.NOTHING
    own: tuple[tuple[Dot, HybridTime], ...] = ()
    """The writes whose receipts had no context, and their times; ZERO: not known."""

    def missing(self, known: VersionVector, mark: HybridTime = ZERO) -> Dot | None:
        """A write that the session has seen and `known` does not cover; None when it covers all.

        What is at or below `mark`, the watermark of an owner, that owner holds or covers, or it was deleted
        and all owners have forgotten it (rule P3).
        """
        counts = dict(known.entries)
        for actor, counter in self._unsettled(mark).entries:
            if counts.get(actor, 0) < counter:
                return Dot(actor, counter)
        return None

    def _unsettled(self, mark: HybridTime) -> VersionVector:
        """What is not known to be at or below a watermark."""
        if not mark:
            return self.least
        exact = EMPTY_VECTOR if self.exact.time <= mark else self.exact.vector
        return exact.join(VersionVector.of(dot for dot, time in self.own if not 0 < time <= mark))

    def without_forgotten(self, known: VersionVector) -> Needed:
        """What is needed, without the writes that are not in `known`, which is all that is left at owners."""
        own = tuple(each for each in self.own if known.covers(each[0]))
        exact = self.exact
        if self._may_be_cut:
            exact = exact._replace(vector=exact.vector.common(known))
        least = exact.vector.join(VersionVector.of(dot for dot, _ in own))
        return self._replace(exact=exact, least=least, own=own)

    def known_with(self, present: StoredObject) -> ContextToken | None:
        """The context of a write over `present` that replaces what the session has seen, too; None when
        `present` has to learn of more of it first (rules S2 and V12)."""
        vector = present.context if self._may_be_cut else present.context.join(self.exact.vector)
        if not vector.covers_all(self.least):
            return None
        return ContextToken(vector, max(present.newest, self.exact.time))

    @property
    def _may_be_cut(self) -> bool:
        """`exact` may name a write without what that has replaced."""
        return may_be_cut(self.exact)


def may_be_cut(context: ContextToken) -> bool:
    """A token of an object of more actors names no fewer than that (rule V12)."""
    return len(context.vector.entries) >= MOST_TOLD


def needed_of(
    context: bytes,
    dots: Sequence[str],
    forgotten: int,
    times: Sequence[int],
    keyspace: KeyspaceId,
    key: bytes,
    seal: ContextSeal,
) -> Needed:
    """Decode what came with a request.  Raises InvalidArgument."""
    exact = seal.open(context, keyspace, key) if context else ContextToken()
    try:
        each_time = times if len(times) == len(dots) else [0] * len(dots)  # a former client tells none
        own = tuple((parse_dot(dot), HybridTime(time)) for dot, time in zip(dots, each_time, strict=True))
        known = Forgotten(forgotten)
    except ValueError as error:
        raise InvalidArgument(
            f"what the session has seen does not decode: {error}", hint="begin a new session"
        ) from error
    least = exact.vector.join(VersionVector.of(dot for dot, _ in own)) if own else exact.vector
    return Needed(exact, least, known, own)
