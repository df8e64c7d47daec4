"""Counts that fade: what happened a half-life ago counts half of what happens now.

The old counts are not touched at each new one.  What comes later counts more instead, and a reader divides by
what an event counts now (forward decay: Cormode, Shkapenyuk, Srivastava, Xu, "Forward Decay: A Practical Time
Decay Model for Streaming Systems", 2009).  Pure; times are seconds.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["ForwardDecay"]

_MOST_HALF_LIVES: Final = 64.0
"""Since the landmark: a count stays far below what a float can hold."""


class ForwardDecay:
    """`now` is monotonic; all calls come in its order."""

    __slots__ = ("_half_life_s", "_landmark", "per_second")

    def __init__(self, half_life_s: float, now: float) -> None:
        self._half_life_s = half_life_s
        self._landmark = now
        self.per_second = math.log(2) / half_life_s
        """Makes a rate of a faded count: a steady rate of r a second has a count of r / per_second."""

    def weight(self, now: float) -> float:
        """What an event counts that happens now."""
        return float(2.0 ** ((now - self._landmark) / self._half_life_s))

    def moved(self, now: float) -> float:
        """What all counts have to be multiplied by now; 1 for nearly all calls.

        Weights are small again after it.
        """
        if now - self._landmark <= _MOST_HALF_LIVES * self._half_life_s:
            return 1.0
        factor = float(2.0 ** (-min(1000.0, (now - self._landmark) / self._half_life_s)))
        self._landmark = now
        return factor
