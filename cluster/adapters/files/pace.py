"""Limits the rate of blocking file work.  For child processes: it puts the caller to sleep.

See: docs/architecture.md, "The five doors".
"""

from __future__ import annotations

import time
from typing import Final

__all__ = ["Pace"]

_LONGEST_CREDIT_S: Final = 0.1


class Pace:
    """Limits bytes per second; unused time counts for at most a tenth of a second."""

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self._due_s = 0.0

    def spend(self, size: int) -> None:
        """Sleep until the rate allows all earlier bytes, then charge `size` bytes."""
        now = time.monotonic()
        if self._due_s > now:
            time.sleep(self._due_s - now)
        self._due_s = max(self._due_s, now - _LONGEST_CREDIT_S) + size / self.bytes_per_s
