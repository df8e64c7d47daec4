"""Many deadlines, few timers: what has to end by a time shares one timer with all that ends about then.

A timer for each call costs more than the rest of its book-keeping, and nearly all of them are cancelled.
Here an entry is put into the bucket of its moment and taken out again when it has ended: two steps of a dict.
An entry expires at its time or up to `TICK_S` later, never earlier.  A bucket that has become empty takes its
timer along, so that a process that waits for nothing is not woken.

A process that was held up, by garbage collection or by SIGSTOP, finds its timers due before it has read what
came meanwhile.  A wheel with a grace lets what is due then wait once more: as long as the process was late,
but no longer than the grace.  That is for entries that are ended by messages.  Rule D1:
docs/protocol/requests.md.

Source: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987), scheme 1 with the event loop's
timers in place of a tick.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from ringmill.cluster.callbacks import call_guarded
from ringmill.cluster.traces.spans import in_no_span

__all__ = ["TICK_S", "Bucket", "DeadlineWheel", "Expiring"]

TICK_S: Final = 0.01
HELD_UP_S: Final = 0.05
_ABSENT: Final = object()


class Expiring(Protocol):
    """What can be put on a wheel: it is told once that its time is over, unless it was taken out before."""

    def expire(self) -> None: ...


class Bucket(dict[Expiring, None]):
    """What expires at one moment; a dict, as it keeps the order of coming."""

    __slots__ = ("_drop", "had_grace", "timer")

    def __init__(self, timer: asyncio.TimerHandle, drop: Callable[[Bucket], None]) -> None:
        super().__init__()
        self.timer = timer
        self.had_grace = False
        self._drop = drop

    def take_out(self, entry: Expiring) -> None:
        """The entry has ended, or expires just now; the last one ends the bucket."""
        if self.pop(entry, _ABSENT) is not _ABSENT and not self:
            self.timer.cancel()
            self._drop(self)


class DeadlineWheel:
    """Deadlines of one event loop: that of the first `add`.  `grace_s` is for what comes after a hold-up,
    which is to be late by more than `held_up_s`."""

    __slots__ = ("_buckets", "_grace_ends", "_grace_s", "_held_up_s", "_loop")

    def __init__(self, grace_s: float = 0.0, held_up_s: float = HELD_UP_S) -> None:
        self._buckets: dict[int, Bucket] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._grace_s = grace_s
        self._held_up_s = held_up_s
        self._grace_ends = 0.0

    def add(self, entry: Expiring, after_s: float) -> Bucket:
        """Let `entry` expire in `after_s` seconds.  Who ends it earlier takes it out of what is returned."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        moment = int((loop.time() + after_s) / TICK_S) + 1
        bucket = self._buckets.get(moment)
        if bucket is None:
            timer = in_no_span(loop.call_at, moment * TICK_S, self._expire, moment)
            bucket = self._buckets[moment] = Bucket(timer, partial(self._drop, moment))
        bucket[entry] = None
        return bucket

    def _drop(self, moment: int, bucket: Bucket) -> None:
        """Forget a bucket that is empty; one that expires just now is no longer here."""
        if self._buckets.get(moment) is bucket:
            del self._buckets[moment]

    def _expire(self, moment: int) -> None:
        if self._grace_s and self._has_grace(self._buckets[moment], moment):
            return
        bucket = self._buckets.pop(moment)
        while bucket:  # an entry that expires may end others of its bucket
            entry = next(iter(bucket))
            del bucket[entry]
            call_guarded(entry.expire)

    def _has_grace(self, bucket: Bucket, moment: int) -> bool:
        """Whether the bucket waits once more: it is late, or the process has just gone on after a hold-up."""
        loop = self._loop
        assert loop is not None, "a bucket has been added"
        now = loop.time()
        late_s = now - moment * TICK_S
        if bucket.had_grace:
            return False
        if late_s > self._held_up_s:
            self._grace_ends = max(self._grace_ends, now + min(late_s, self._grace_s))
        if now >= self._grace_ends:
            return False
        bucket.had_grace = True
        bucket.timer = loop.call_at(self._grace_ends, self._expire, moment)
        return True
