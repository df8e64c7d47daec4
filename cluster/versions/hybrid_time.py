"""Hybrid logical time: a stamp that people can read as a date and that never goes back on one node.

It orders for people, expiry and last-writer-wins only; what overwrites what is decided by dots.  The bound
of 500 ms binds the stamps this node gives to fresh writes; times met in data are taken as they are and
raise the own clock to at most 500 ms above the wall.

Source: Kulkarni et al., "Logical Physical Clocks" (2014).  Layout: docs/formats/hybrid_time.md.
"""

from __future__ import annotations

from typing import Final, NewType

from cluster.errors import Unavailable
from cluster.ports import Clock

__all__ = [
    "MAX_AHEAD_MS",
    "ZERO",
    "HybridClock",
    "HybridTime",
    "hybrid_time",
    "logical_part",
    "millis",
]

HybridTime = NewType("HybridTime", int)
"""Unsigned 64 bits: milliseconds since 1970-01-01 UTC in the upper 48, a logical count in the lower 16."""

ZERO: Final = HybridTime(0)
MAX_AHEAD_MS: Final = 500
LOGICAL_BITS: Final = 16


def hybrid_time(ms: int, logical: int = 0) -> HybridTime:
    """The stamp of a millisecond and a logical count below 65,536."""
    assert 0 <= ms < 1 << 48, f"{ms} ms is outside 48 bits"
    assert 0 <= logical < 1 << LOGICAL_BITS, f"logical count {logical} is outside 16 bits"
    return HybridTime(ms << LOGICAL_BITS | logical)


def millis(time: HybridTime) -> int:
    """Milliseconds since 1970-01-01 UTC."""
    return time >> LOGICAL_BITS


def logical_part(time: HybridTime) -> int:
    """The count that orders stamps within one millisecond."""
    return time & (1 << LOGICAL_BITS) - 1


class HybridClock:
    """One node's hybrid clock.

    `stamp` refuses once the wall clock has moved against the monotonic one by more than 500 ms between two
    stamps, and goes on refusing until the wall is back or the node is started again: until then nobody
    knows which of the two readings was right.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = ZERO
        self._offset_ms = self._offset()

    def now(self) -> HybridTime:
        """The present reading; never below an earlier one."""
        self._last = HybridTime(max(self._last, self._wall()))
        return self._last

    def stamp(self, above: HybridTime = ZERO) -> HybridTime:
        """A stamp for a fresh write: above all earlier ones of this node and, within the bound, `above`.

        A stamp lies at most 500 ms ahead of the wall, so a context from a node whose clock ran far ahead
        is not followed.  Raises Unavailable (outcome "failed") after a clock jump.
        """
        self._refuse_after_jump()
        wall = self._wall()
        wanted = max(self._last + 1, wall, min(above + 1, self._ceiling(wall)))
        self._last = HybridTime(wanted)
        return self._last

    def observe(self, seen: HybridTime) -> None:
        """Learn a time met in data or an answer: raises the own clock to at most 500 ms above the wall."""
        if seen > self._last:
            self._last = HybridTime(max(self._last, min(seen, self._ceiling(self._wall()))))

    def wall_ms(self) -> int:
        """The wall clock alone, milliseconds: what expiry is judged by."""
        return int(self._clock.wall() * 1000)

    def _wall(self) -> HybridTime:
        return hybrid_time(self.wall_ms())

    @staticmethod
    def _ceiling(wall: HybridTime) -> int:
        return wall + (MAX_AHEAD_MS << LOGICAL_BITS)

    def _offset(self) -> float:
        """Wall against the clock that also counts sleep, so that a suspended machine has not jumped."""
        return (self._clock.wall() - self._clock.boottime()) * 1000

    def _refuse_after_jump(self) -> None:
        offset_ms = self._offset()
        moved_ms = offset_ms - self._offset_ms
        if abs(moved_ms) > MAX_AHEAD_MS:
            raise Unavailable(
                f"the wall clock jumped by {moved_ms:+.0f} ms, more than {MAX_AHEAD_MS} ms: "
                "this node stamps no writes",
                hint="set the clock right, or restart the node once it is right",
            )
        self._offset_ms = offset_ms  # slow drift, as of a clock being steered, is followed
