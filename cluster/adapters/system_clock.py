"""The Clock door on the operating system.  Nothing else in the project reads these clocks.

See: docs/architecture.md, "The five doors".
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from math import isfinite
from pathlib import Path

__all__ = ["ShiftedClock", "SystemClock"]


_HAS_BOOTTIME = hasattr(time, "CLOCK_BOOTTIME")
_boottime = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if _HAS_BOOTTIME else time.monotonic


class SystemClock:
    """The clocks of this machine, in seconds."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump either way."""
        return time.time()

    def monotonic(self) -> float:
        """The clock that the event loop's timers follow."""
        return time.monotonic()

    def boottime(self) -> float:
        """Like monotonic, but counts the machine's sleep too; monotonic where there is no such clock."""
        return _boottime()


class ShiftedClock(SystemClock):
    """The clocks of a machine whose wall clock is wrong: tests set the clock of one real process by it, or
    step those of all.

    `path`: a file with the seconds by which the wall clock is ahead, a decimal number, negative for behind.
    It is read at each look, so a file that is replaced is a step.  While there is no such file, or no number
    in it that is finite, the last one counts, at first 0.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._ahead_s = 0.0

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC by the wrong clock."""
        with suppress(OSError, ValueError):
            ahead_s = float(self._path.read_bytes())
            if isfinite(ahead_s):
                self._ahead_s = ahead_s
        return super().wall() + self._ahead_s
