"""Keeping blocking file work to a rate.  For child processes: whoever asks is put to sleep.

See: docs/architecture.md, "The five doors".
"""

from __future__ import annotations

import time
from typing import Final

__all__ = ["Pace"]

_LONGEST_CREDIT_S: Final = 0.1


class Pace:
    """So many bytes a second; time not used is credited for a tenth of a second, no longer."""

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self._due_s = 0.0

    def spend(self, size: int) -> None:
        """Sleep until what was spent before is paid for, then owe for `size` bytes."""
        now = time.monotonic()
        if self._due_s > now:
            time.sleep(self._due_s - now)
        self._due_s = max(self._due_s, now - _LONGEST_CREDIT_S) + size / self.bytes_per_s
