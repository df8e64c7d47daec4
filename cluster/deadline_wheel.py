"""Many deadlines, few timers: what has to end by a time shares one timer with all that ends about then.

A timer for each call costs more than the rest of its book-keeping, and nearly all of them are cancelled.
Here an entry is put into the bucket of its moment and taken out again when it has ended: two steps of a dict.
An entry expires at its time or up to `TICK_S` later, never earlier.  A bucket that has become empty takes its
timer along, so that a process that waits for nothing is not woken.

Source: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987), scheme 1 with the event loop's
timers in place of a tick.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from ringmill.cluster.callbacks import call_guarded

__all__ = ["TICK_S", "Bucket", "DeadlineWheel", "Expiring"]

TICK_S: Final = 0.01
_ABSENT: Final = object()


class Expiring(Protocol):
    """What can be put on a wheel: it is told once that its time is over, unless it was taken out before."""

    def expire(self) -> None: ...


class Bucket(dict[Expiring, None]):
    """What expires at one moment; a dict, as it keeps the order of coming."""

    __slots__ = ("_drop", "timer")

    def __init__(self, timer: asyncio.TimerHandle, drop: Callable[[Bucket], None]) -> None:
        super().__init__()
        self.timer = timer
        self._drop = drop

    def take_out(self, entry: Expiring) -> None:
        """The entry has ended, or expires just now; the last one ends the bucket."""
        if self.pop(entry, _ABSENT) is not _ABSENT and not self:
            self.timer.cancel()
            self._drop(self)


class DeadlineWheel:
    """Deadlines of one event loop: that of the first `add`."""

    __slots__ = ("_buckets", "_loop")

    def __init__(self) -> None:
        self._buckets: dict[int, Bucket] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, entry: Expiring, after_s: float) -> Bucket:
        """Let `entry` expire in `after_s` seconds.  Who ends it earlier takes it out of what is returned."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        moment = int((loop.time() + after_s) / TICK_S) + 1
        bucket = self._buckets.get(moment)
        if bucket is None:
            timer = loop.call_at(moment * TICK_S, self._expire, moment)
            bucket = self._buckets[moment] = Bucket(timer, partial(self._drop, moment))
        bucket[entry] = None
        return bucket

    def _drop(self, moment: int, bucket: Bucket) -> None:
        """Forget a bucket that is empty; one that expires just now is no longer here."""
        if self._buckets.get(moment) is bucket:
            del self._buckets[moment]

    def _expire(self, moment: int) -> None:
        bucket = self._buckets.pop(moment)
        while bucket:  # an entry that expires may end others of its bucket
            entry = next(iter(bucket))
            del bucket[entry]
            call_guarded(entry.expire)
