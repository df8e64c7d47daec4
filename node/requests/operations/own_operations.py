"""The names of changes whose clients gave none, as they will never send them again."""

from __future__ import annotations

from typing import Final

from ringmill.cluster.ports import Entropy
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.versions.objects import OperationId

__all__ = ["OwnOperations"]

_LAST_SEQUENCE: Final = (1 << 32) - 1  # docs/formats/operation_id.md


class OwnOperations:
    """Makes the operation ids of one start of the node: no two are the same."""

    def __init__(self, hybrid: HybridClock, entropy: Entropy) -> None:
        self._hybrid = hybrid
        self._entropy = entropy
        self._begin_session()

    def next(self) -> OperationId:
        if self._sequence == _LAST_SEQUENCE:
            self._begin_session()
        self._sequence += 1
        return OperationId(self._session, self._sequence, self._hybrid.now())

    def _begin_session(self) -> None:
        self._session = int.from_bytes(self._entropy.random_bytes("operation", 8), "big")
        self._sequence = 0
