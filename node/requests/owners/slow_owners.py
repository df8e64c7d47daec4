"""Which owners answer reads much more slowly than others: they are asked last for a moment (rule G4).

A slow owner is not a dead one: it acks writes, and nothing but the order of reads changes.  It is tried again
every `AVOID_S`, so one read in that time pays for knowing.  An owner is compared with the others that have
answered lately, not with a number: when all are slow, none is avoided.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Clock
from ringmill.cluster.sometimes import sometimes

__all__ = ["SlowOwners"]

AVOID_S: Final = 1.0
SLOW_S: Final = 0.01
"""An answer within this time is never a slow one."""
TIMES_SLOWER: Final = 4.0
LATELY_S: Final = 60.0
"""A node that has not answered for longer is down, has left or owns nothing here, and is not compared."""
_SHARE: Final = 0.1
"""The share of a new answer in what is typical of an owner."""


class SlowOwners:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._typical: dict[NodeId, float] = {}  # seconds from asking to the answer
        self._answered_at: dict[NodeId, float] = {}
        self._avoided: dict[NodeId, float] = {}  # until when

    def answered(self, node: NodeId, took_s: float) -> None:
        typical = self._typical.get(node, took_s)
        self._typical[node] = typical + (took_s - typical) * _SHARE
        self._answered_at[node] = self._clock.monotonic()
        if took_s >= SLOW_S:
            self._note_slow(node, took_s)
        elif self._avoided:
            self._avoided.pop(node, None)

    def failed(self, node: NodeId, took_s: float) -> None:
        """It has refused, or cannot be reached: that it took no time makes nobody else a slow one."""
        if took_s >= SLOW_S:
            self._note_slow(node, took_s)

    def silent(self, nodes: Sequence[NodeId], for_s: float) -> None:
        """They have not answered for so long."""
        if for_s >= SLOW_S:
            for node in nodes:
                self._note_slow(node, for_s)

    def avoided(self) -> Collection[NodeId]:
        """Those to be asked last now."""
        if self._avoided:
            now = self._clock.monotonic()
            for node, until in list(self._avoided.items()):
                if until <= now:
                    del self._avoided[node]
        return self._avoided

    def _note_slow(self, node: NodeId, took_s: float) -> None:
        now = self._clock.monotonic()
        for other, answered_at in list(self._answered_at.items()):
            if now - answered_at > LATELY_S:
                del self._answered_at[other], self._typical[other]
        others = [typical for other, typical in self._typical.items() if other != node]
        if others and took_s > TIMES_SLOWER * min(others):
            sometimes("a slow owner is asked last")
            self._avoided[node] = now + AVOID_S
