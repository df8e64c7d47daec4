"""What an orderly stop has left of its time.

A stop has stages, each with a bound of its own, and the bounds together are more than the time after which
the process is killed.  So each stage also leaves something to those after it: hints and a log that is synced
are worth more than the last of a wait for a peer that hangs.  Rule T10: docs/protocol/topology.md.
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.ports import Clock

__all__ = ["AFTER_CALLS_S", "AFTER_FRAMES_S", "StopTime"]

AFTER_FRAMES_S: Final = 2.5
"""What plain calls under way, and all after them, are left."""
AFTER_CALLS_S: Final = 2.0
"""What hints, a second at most, and the store are left."""


class StopTime:
    """Without a limit until it begins."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends_at: float | None = None

    def begin(self, limit_s: float) -> None:
        """The process is killed after `limit_s`."""
        self._ends_at = self._clock.monotonic() + limit_s

    def left_s(self, kept_s: float = AFTER_CALLS_S) -> float | None:
        """Seconds until no more than `kept_s` are left; None: without a limit."""
        if self._ends_at is None:
            return None
        return max(0.0, self._ends_at - kept_s - self._clock.monotonic())

    def within(self, most_s: float, kept_s: float = AFTER_CALLS_S) -> float:
        """Seconds until no more than `kept_s` are left, but `most_s` at most."""
        left_s = self.left_s(kept_s)
        return most_s if left_s is None else min(most_s, left_s)
