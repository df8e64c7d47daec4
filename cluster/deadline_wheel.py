"""Many deadlines, few timers: what has to end by a time shares one timer with all that ends about then.

A timer for each call costs more than the rest of its book-keeping, and nearly all of them are cancelled.
Here an entry is put into the bucket of its moment and taken out again when it has ended: two steps of a dict.
An entry expires at its time or up to `TICK_S` later, never earlier.

Source: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987), scheme 1 with the event loop's
timers in place of a tick.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, TypeAlias

from ringmill.cluster.callbacks import call_guarded

__all__ = ["TICK_S", "Bucket", "DeadlineWheel", "Expiring"]

TICK_S: Final = 0.01


class Expiring(Protocol):
    """What can be put on a wheel: it is told once that its time is over, unless it was taken out before."""

    def expire(self) -> None: ...


Bucket: TypeAlias = dict[Expiring, None]
"""What expires at one moment; a dict, as it keeps the order of coming."""


class DeadlineWheel:
    """Deadlines of one event loop: that of the first `add`."""

    __slots__ = ("_buckets", "_loop")

    def __init__(self) -> None:
        self._buckets: dict[int, Bucket] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, entry: Expiring, after_s: float) -> Bucket:
        """Let `entry` expire in `after_s` seconds.  Whoever ends it earlier pops it from what is returned."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        moment = int((loop.time() + after_s) / TICK_S) + 1
        bucket = self._buckets.get(moment)
        if bucket is None:
            bucket = self._buckets[moment] = {}
            loop.call_at(moment * TICK_S, self._expire, moment)
        bucket[entry] = None
        return bucket

    def _expire(self, moment: int) -> None:
        bucket = self._buckets.pop(moment)
        while bucket:  # an entry that expires may end others of its bucket
            entry = next(iter(bucket))
            del bucket[entry]
            call_guarded(entry.expire)
