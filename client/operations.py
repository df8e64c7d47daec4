"""Names for writes, fixed before their first send, so that one that is seen twice is known as one.

A name is (session, sequence, birth): the session is random and one a client, the sequence grows in it, the
birth is the highest hybrid time that the client had learned from the cluster (0 when none).
Rule V4: docs/protocol/versions.md.  Layout: docs/formats/operation_id.md.
"""

from __future__ import annotations

from typing import NamedTuple

from ringmill.cluster.ports import Entropy

__all__ = ["OperationName", "OperationNames"]

SEQUENCE_LIMIT = 2**32


class OperationName(NamedTuple):
    """The name of one write of one client."""

    session: int
    sequence: int
    birth: int


class OperationNames:
    """Gives each write of a client its name, and remembers the newest time that an answer carried."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._newest = 0
        self._open_session()

    def next(self) -> OperationName:
        """A name that no other write has; a session that ran out of numbers is followed by a new one."""
        if self._sequence + 1 >= SEQUENCE_LIMIT:
            self._open_session()
        self._sequence += 1
        return OperationName(self._session, self._sequence, self._newest)

    def observe(self, hybrid_time: int) -> None:
        """Learn a time from the cluster."""
        self._newest = max(self._newest, hybrid_time)

    def _open_session(self) -> None:
        self._session = int.from_bytes(self._entropy.random_bytes("client.session", 8), "big")
        self._sequence = 0
