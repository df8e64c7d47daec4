"""The names of changes whose clients gave none, as they will never send them again."""

from __future__ import annotations

from ringmill.cluster.ports import Entropy
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.versions.objects import OperationId

__all__ = ["OwnOperations"]


class OwnOperations:
    """Of one start of the node: no two are the same."""

    def __init__(self, hybrid: HybridClock, entropy: Entropy) -> None:
        self._hybrid = hybrid
        self._session = int.from_bytes(entropy.random_bytes("operation", 8), "big")
        self._sequence = 0

    def next(self) -> OperationId:
        self._sequence += 1
        return OperationId(self._session, self._sequence, self._hybrid.now())
