"""Judges a wall clock by those of the other nodes, because no node knows the true time.

Each reading is the difference between a node's wall clock and the boot clock of the node that judges, so that
readings of one moment need no common start.  Pure; node/membership/clock_watch.py collects them.
Rule V6: docs/protocol/versions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, median_low

from ringmill.cluster.versions.hybrid_time import MAX_AHEAD_MS

__all__ = ["Comparison", "compare", "earliest_reading", "shared_reading"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A node's own reading beside the median of its cluster, in milliseconds."""

    own_ms: float
    median_ms: float
    nodes: int  # that were compared, itself included

    @property
    def apart_ms(self) -> float:
        """How far the own clock is ahead of the median."""
        return self.own_ms - self.median_ms

    def agrees(self, former: Comparison | None) -> bool:
        """Whether the clock is within 500 ms of the median, or its distance changed by at most that: all
        moved alike."""
        moved_ms = self.apart_ms if former is None else self.apart_ms - former.apart_ms
        return min(abs(self.apart_ms), abs(moved_ms)) <= MAX_AHEAD_MS


def compare(own_ms: float, others_ms: Sequence[float], asked: int) -> Comparison | None:
    """None when fewer than half of the `asked` others have answered.

    The node itself counts when the others are even in number, so that the median is one of the readings and
    two clocks that differ never meet in the middle.  A node that is alone agrees with itself.
    """
    if 2 * len(others_ms) < asked:
        return None
    readings = [*others_ms, own_ms] if len(others_ms) % 2 == 0 else list(others_ms)
    return Comparison(own_ms, median(readings), len(others_ms) + 1)


def shared_reading(own_ms: float, others_ms: Sequence[float], asked: int) -> float | None:
    """The median by which all nodes decide expiry; one wrong clock cannot move it.

    None while there are only two readings of a larger cluster, because one of the two may be wrong.
    """
    if len(others_ms) < 2 and len(others_ms) < asked:
        return None
    return median_low([own_ms, *others_ms])


def earliest_reading(own_ms: float, others_ms: Sequence[float]) -> float | None:
    """What nobody who was heard has passed: also of two readings one wrong clock cannot move it forwards.

    None while no other node was heard, because the own clock may be the wrong one.
    """
    return min(own_ms, *others_ms) if others_ms else None
