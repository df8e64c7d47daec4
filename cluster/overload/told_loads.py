"""How much other nodes have under way, as they say with their answers.

Pure: times in seconds.  A node tells the units at its gate as a share of its limit, in one byte.  What counts
is the quarter that this is in, so that a little more here or there moves nothing; and only what was told
within the last second, so that a node of which nobody asks anything is asked again.

Rule G4: docs/protocol/reads.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["ToldLoads", "load_of"]

_MOST: Final = 255
LATELY_S: Final = 1.0
_QUARTER: Final = (_MOST + 1) // 4


def load_of(units: float, limit: float) -> int:
    """What a node tells that has these units under way or waiting: 0 to 255, which is the limit or more."""
    load = int(units * _MOST / limit)
    return load if load < _MOST else _MOST


class ToldLoads:
    """By the names of nodes, or by their addresses.  `now` is monotonic."""

    def __init__(self) -> None:
        self._quarters: dict[str, int] = {}  # of those above the first
        self._told_at: dict[str, float] = {}
        self._none_before = 0.0  # was any of them told

    def heard(self, name: str, load: int, now: float) -> None:
        """It has told this load just now."""
        if load >= _QUARTER:
            if not self._quarters:
                self._none_before = now
            self._quarters[name] = load // _QUARTER
            self._told_at[name] = now
        elif self._quarters.pop(name, None) is not None:
            del self._told_at[name]

    def quarters(self, now: float) -> Mapping[str, int]:
        """Those that have more than a quarter of what they can under way: 1, 2, or 3 for more than three.

        For use at once: it follows what is heard.
        """
        if self._quarters and self._none_before <= now - LATELY_S:
            self._forget(now - LATELY_S)
        return self._quarters

    def _forget(self, before: float) -> None:
        for name in [name for name, at in self._told_at.items() if at <= before]:
            del self._quarters[name], self._told_at[name]  # it may be gone, and would be kept
        self._none_before = min(self._told_at.values(), default=0.0)
