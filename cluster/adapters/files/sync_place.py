"""Where a file is synced: on the event loop as long as syncs are short, in a thread while they are not.

A hop to a thread and back costs a node more processor time than the sync itself on a disk that answers in a
fraction of a millisecond.  A slow sync on the loop delays everything that the node does.  So syncs leave the
loop when they are slow on average, or when one is very slow: the more of them the slower the last one was,
and twice as many as the time before if few were short in between.  A slow disk then stops the loop once in
4,096 syncs.  What the loop waited for a core does not count (core_wait.py): on a busy machine that is most
of what a sync takes.

How long a sync in the thread took says little: before it can look at the clock again it waits for the
interpreter, which the loop may hold for 5 ms and longer.  So those are counted, and only one that no such
wait explains is slow.  One that is in the thread keeps all others there until it has ended: on the loop they
would wait for the same disk.  One that was asked for there, as no request waits for it, keeps some more
there: while a copy is filled or tables are compared, others like it follow.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import Final

__all__ = ["SyncPlace"]

SHORT_S: Final = 0.005  # on average: a loop is busy as long as that with other things, too
LONG_S: Final = 0.05  # for one
LONG_IN_THREAD_S: Final = 0.1
MOST_BYTES: Final = 256 * 1024  # more takes long to copy alone
_MEANT: Final = 16  # syncs over which the average is taken
_PER_SECOND: Final = 1_000  # syncs in the thread for a second on the loop
_MOST: Final = 4_096
_BESIDE: Final = 16  # syncs that go to the thread after one that was asked for there


class SyncPlace:
    """Decides where the files of one device are synced.

    `took` is told of every sync on the loop, `begun` of every one in the thread, where its time counts even
    if its caller has gone.
    """

    __slots__ = ("_backoff", "_in_thread", "_under_way", "_usual_s")

    def __init__(self) -> None:
        self._usual_s = 0.0  # what a sync on the loop takes
        self._in_thread = 0  # syncs that go to the thread before the loop is tried again
        self._backoff = 0  # what that number was, less the syncs that were on the loop since
        self._under_way: deque[Future[float]] = deque()  # in the thread, in the order of their turn

    def is_loop(self, size_bytes: int) -> bool:
        """Whether to sync this number of bytes on the loop."""
        self._heed_done()
        return not self._in_thread and not self._under_way and size_bytes <= MOST_BYTES

    def asked_for_thread(self) -> None:
        """The next sync is to be in the thread whatever its size, as no request waits for it."""
        self._in_thread = max(self._in_thread, _BESIDE)

    def begun(self, sync: Future[float]) -> None:
        """It was given to the thread, which takes one after the other; it returns how long it took."""
        self._heed_done()  # for hours nobody may ask for the loop
        self._under_way.append(sync)

    def took(self, took_s: float) -> None:
        """How long a write and its sync took on the loop, without what it waited for a core."""
        self._usual_s += (min(took_s, LONG_S) - self._usual_s) / _MEANT
        if took_s > LONG_S or (self._usual_s > SHORT_S and took_s > SHORT_S):
            self._usual_s = max(self._usual_s, SHORT_S)  # the next one tells whether this was an exception
            self._backoff = min(_MOST, max(2 * self._backoff, int(took_s * _PER_SECOND)))
            self._in_thread = max(self._in_thread, self._backoff)
        elif self._backoff:
            self._backoff -= 1

    def _heed_done(self) -> None:
        while self._under_way and self._under_way[0].done():
            sync = self._under_way.popleft()
            if not sync.cancelled() and sync.exception() is None:
                self._took_in_thread(sync.result())

    def _took_in_thread(self, took_s: float) -> None:
        if took_s > LONG_IN_THREAD_S:
            self._in_thread = max(self._in_thread, min(_MOST, int(took_s * _PER_SECOND)))
        elif self._in_thread:
            self._in_thread -= 1
