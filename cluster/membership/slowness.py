"""Which members answer probes much more slowly than the others: a state that is told and changes no routing.

Pure.  A member is compared with the others that this node probes, not with a number: when all are slow, as
when this node is, none is.  Only answers count; a member that gives none is for the detector.  Of the last
three answers the middle one counts: one that was late by chance says nothing, and two fast ones refute what
was said.  Rule G4 is the same for reads.

Huang et al., "Gray Failure: The Achilles' Heel of Cloud-Scale Systems", 2017.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from statistics import median
from typing import Final

from ringmill.cluster.ids import NodeId

__all__ = ["Slowness"]

ANSWERS: Final = 3
SLOW_S: Final = 0.05
"""An answer within this time is never a slow one.  Chosen, not measured."""
TIMES_SLOWER: Final = 4.0


class Slowness:
    """The last answers of the members to one node's own probes."""

    def __init__(self) -> None:
        self._took: dict[NodeId, deque[float]] = {}  # seconds from sending a probe to its answer

    def answered(self, node: NodeId, took_s: float) -> None:
        self._took.setdefault(node, deque(maxlen=ANSWERS)).append(took_s)

    def forget(self, node: NodeId) -> None:
        """It is down, and begins anew."""
        self._took.pop(node, None)

    def keep(self, members: Collection[NodeId]) -> None:
        """Forget all others: they are not members any more."""
        self._took = {node: took for node, took in self._took.items() if node in members}

    def is_slow(self, node: NodeId) -> bool:
        """Whether the middle one of its last three answers took 50 ms, and four times what others took."""
        took = self._took.get(node, ())
        if len(took) < ANSWERS or median(took) < SLOW_S:
            return False
        others = [median(each) for other, each in self._took.items() if other != node]
        return bool(others) and median(took) >= TIMES_SLOWER * median(others)
