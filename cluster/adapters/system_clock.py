"""The Clock door on the operating system.  Nothing else in the project reads these clocks.

See: docs/architecture.md, "The five doors".
"""

from __future__ import annotations

import time
from functools import partial

__all__ = ["SystemClock"]


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
