"""Where a file is synced: on the event loop as long as syncs are short, in a thread while they are not.

A hop to a thread and back costs a node more processor time than the sync itself on a disk that answers in a
fraction of a millisecond.  A slow sync on the loop delays everything that the node does.  So one slow sync
moves those that follow to the thread, the more of them the slower it was, until as many were short.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SyncPlace"]

SHORT_S: Final = 0.005  # a loop is busy as long as that with other things, too
MOST_BYTES: Final = 256 * 1024  # more takes long to copy alone
_PER_SECOND: Final = 16_000  # syncs in the thread for a second on the loop: 80 for the shortest slow one
_MOST: Final = 4_096


class SyncPlace:
    """Of the files of one device.  `took` is told of every sync, wherever it was done."""

    __slots__ = ("_in_thread",)

    def __init__(self) -> None:
        self._in_thread = 0  # syncs that have to be short first

    def is_loop(self, size_bytes: int) -> bool:
        """Whether to sync this number of bytes on the loop."""
        return not self._in_thread and size_bytes <= MOST_BYTES

    def took(self, took_s: float) -> None:
        """How long a write and its sync took."""
        if took_s > SHORT_S:
            self._in_thread = max(self._in_thread, min(_MOST, int(took_s * _PER_SECOND)))
        elif self._in_thread:
            self._in_thread -= 1
