"""Operation ids of writes, chosen before the first send, so that a node recognises a repeated write.

An operation id is (session, sequence, birth).  The session is a random number for each client, the sequence
counts its writes, and the birth is the highest hybrid time that the client had learned from the cluster (0
when none). Rule V4: docs/protocol/versions.md.  Layout: docs/formats/operation_id.md.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ports import Entropy

__all__ = ["OperationName", "OperationNames"]

SEQUENCE_LIMIT = 2**32
_SESSION_LEAD = 60_000 << 16
"""In hybrid time: how far the birth of a session's write may be above what the client itself has heard.  The
session may have been elsewhere; but its token is not signed, and may say anything."""


class OperationName(NamedTuple):
    """The operation id of one write."""

    session: int
    sequence: int
    birth: int
    attempt: int = 0
    """Earlier sendings, by an earlier call, that may have been done: more than 0 is a later attempt (V4)."""


class Learning(Protocol):
    """Whoever asks nodes for the topology; they tell their time with it."""

    newest_time: int


class OperationNames:
    """Gives each write of a client its operation id, and remembers the newest time in any answer.

    Of `learning` a client knows a time before its first write, which can then be sent again like any other.
    """

    def __init__(self, entropy: Entropy, learning: Learning) -> None:
        self._entropy = entropy
        self._learning = learning
        self._newest = 0
        self._open_session()

    def next(self, seen: int = 0) -> OperationName:
        """An id that no other write has; starts a new session when this one has used all its numbers.

        `seen` is the newest time that the session of this write has seen.  It counts for this write alone,
        and as far as it is no more than a minute above what this client has heard.
        """
        if self._sequence + 1 >= SEQUENCE_LIMIT:
            self._open_session()
        self._sequence += 1
        heard = self.newest
        if seen > heard > 0:
            heard = min(seen, heard + _SESSION_LEAD)
        return OperationName(self._session, self._sequence, heard)

    @property
    def newest(self) -> int:
        """The newest hybrid time that this client has heard; 0 before any."""
        return max(self._newest, self._learning.newest_time)

    def observe(self, hybrid_time: int) -> None:
        """Remember a hybrid time that an answer carried, if it is the newest."""
        self._newest = max(self._newest, hybrid_time)

    def retreat(self, error: RingmillError) -> bool:
        """A node may refuse a write as born after its time: a clock that was far ahead has been heard of.
        Later writes are born at that node's time.  Whether the write can be sent under another name."""
        newest = error.detail.get("newest_birth")
        if not isinstance(newest, int):
            return False
        self._newest = min(self._newest, newest)
        self._learning.newest_time = min(self._learning.newest_time, newest)
        return error.outcome == "failed"

    def named(self, name: OperationName) -> OperationNames:
        """These names, but the next write gets this one, which an earlier call of it may have had."""
        return _OneOperation(self, name)

    def _open_session(self) -> None:
        self._session = int.from_bytes(self._entropy.random_bytes("client.session", 8), "big")
        self._sequence = 0


class _OneOperation(OperationNames):
    """Names of a write that a caller may send by several calls."""

    def __init__(self, behind: OperationNames, name: OperationName) -> None:
        self._behind = behind
        self._name = name

    def next(self, seen: int = 0) -> OperationName:
        return self._name

    @property
    def newest(self) -> int:
        return self._behind.newest

    def observe(self, hybrid_time: int) -> None:
        self._behind.observe(hybrid_time)

    def retreat(self, error: RingmillError) -> bool:
        self._behind.retreat(error)
        return False
