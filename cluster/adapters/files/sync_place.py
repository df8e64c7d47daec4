"""Where a file is synced: on the event loop as long as syncs are short, in a thread while they are not.

A hop to a thread and back costs a node more processor time than the sync itself on a disk that answers in a
fraction of a millisecond.  A slow sync on the loop delays everything that the node does.  So one slow sync
moves those that follow to the thread, the more of them the slower it was, until as many were short.  One that
is in the thread keeps all others there until it has ended: on the loop they would wait for the same disk.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import Final

__all__ = ["SyncPlace"]

SHORT_S: Final = 0.005  # a loop is busy as long as that with other things, too
MOST_BYTES: Final = 256 * 1024  # more takes long to copy alone
_PER_SECOND: Final = 16_000  # syncs in the thread for a second on the loop: 80 for the shortest slow one
_MOST: Final = 4_096


class SyncPlace:
    """Of the files of one device.  `took` is told of every sync on the loop, `begun` of every one in the
    thread, where its time counts even if its caller has gone."""

    __slots__ = ("_in_thread", "_under_way")

    def __init__(self) -> None:
        self._in_thread = 0  # syncs that have to be short first
        self._under_way: deque[Future[float]] = deque()  # in the thread, in the order of their turn

    def is_loop(self, size_bytes: int) -> bool:
        """Whether to sync this number of bytes on the loop."""
        while self._under_way and self._under_way[0].done():
            sync = self._under_way.popleft()
            if not sync.cancelled() and sync.exception() is None:
                self.took(sync.result())
        return not self._in_thread and not self._under_way and size_bytes <= MOST_BYTES

    def begun(self, sync: Future[float]) -> None:
        """It was given to the thread, which takes one after the other; it returns how long it took."""
        self._under_way.append(sync)

    def took(self, took_s: float) -> None:
        """How long a write and its sync took."""
        if took_s > SHORT_S:
            self._in_thread = max(self._in_thread, min(_MOST, int(took_s * _PER_SECOND)))
        elif self._in_thread:
            self._in_thread -= 1
