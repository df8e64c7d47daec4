"""What a node leaves off, one step after the other, when it has more to do than it can.

Pure; times are seconds. While requests wait the first steps are taken: no second owner is asked for an
answer that is merely late, background repair shrinks to its least share, and compactions that can wait and
tasks that have not begun are put off. While requests are refused scans are refused as well. Reads and
writes come last: what has no room is refused by the gate, reads before writes as their floor is lower. A
step is taken after each `RISE_S` and taken back after each `FALL_S`.

Rule O7: docs/protocol/overload.md.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["Ladder", "Rung"]

RISE_S: Final = 0.1
FALL_S: Final = 1.0
HOLD_S: Final = 0.25
"""For how long one request that waited or was refused counts."""


class Rung(IntEnum):
    """In the order in which they are taken; each has those before it."""

    NONE = 0
    HEDGING = 1
    BACKGROUND = 2
    COMPACTION = 3
    TASKS = 4
    SCANS = 5


OFF: Final = {
    Rung.HEDGING: "hedging",
    Rung.BACKGROUND: "background repair",
    Rung.COMPACTION: "compactions that can wait",
    Rung.TASKS: "new tasks of jobs",
    Rung.SCANS: "scans",
}


class Ladder:
    """`now` is monotonic; all calls come in its order."""

    __slots__ = ("_at", "_height", "_refused_until", "_waited_until")

    def __init__(self, now: float) -> None:
        self._at = now
        self._height = 0.0
        self._waited_until = self._refused_until = now

    def waited(self, now: float) -> None:
        """A request waits."""
        self._advance(now)
        self._waited_until = now + HOLD_S

    def refused(self, now: float) -> None:
        """A request is refused for want of room."""
        self._advance(now)
        self._waited_until = self._refused_until = now + HOLD_S

    def step(self, now: float) -> Rung:
        self._advance(now)
        return Rung(int(self._height))

    def left_off(self, now: float) -> str:
        """What is left off, in words; "" for nothing."""
        step = self.step(now)
        return ", ".join(OFF[each] for each in OFF if each <= step)

    def _advance(self, now: float) -> None:
        """Rise while there is a reason, fall when there is none; the reasons end in their order."""
        for until, top in ((self._refused_until, Rung.SCANS), (self._waited_until, Rung.TASKS)):
            rising_s = min(now, until) - self._at
            if rising_s > 0:
                self._height = max(self._height, min(float(top), self._height + rising_s / RISE_S))
                self._at += rising_s
        self._height = max(0.0, self._height - (now - self._at) / FALL_S)
        self._at = now
