"""The beat of loops that look at something from time to time: those of one process look together.

Waking a process costs more than a look does: it finds cold caches, and the processor has gone to sleep.  So
loops wake at whole multiples of their periods on the clock of the event loop, and share one waking where each
had its own.
"""

from __future__ import annotations

import asyncio
from typing import Final

__all__ = ["next_beat", "until_beat_s"]

_SHORTEST: Final = 0.25  # of a period: a loop that was busy until just before a beat takes the next one


async def next_beat(every_s: float) -> None:
    """Sleep until the next beat, a quarter of `every_s` to five quarters from now."""
    await asyncio.sleep(until_beat_s(every_s))


def until_beat_s(every_s: float) -> float:
    """Seconds until the next beat, as `next_beat` sleeps."""
    left_s = every_s - asyncio.get_running_loop().time() % every_s
    return left_s if left_s >= _SHORTEST * every_s else left_s + every_s
