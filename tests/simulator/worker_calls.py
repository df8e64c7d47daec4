"""What workers of a campaign are asked in place of runs.  It loads nothing, as each worker loads it anew."""

from __future__ import annotations

import os
import signal
from typing import Any

__all__ = ["echo", "end_at_two"]


def end_at_two(work: tuple[int, Any]) -> int:
    if work[0] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return work[0]


def echo(work: tuple[int, Any]) -> int:
    return work[0]
