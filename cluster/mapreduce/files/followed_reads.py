"""A file whose reads are counted: progress where records do not tell how many bytes they were.

I/O only through the ReadFile passed in.
"""

from __future__ import annotations

from collections.abc import Callable

from ringmill.cluster.ports import ReadFile

__all__ = ["FollowedFile"]


class FollowedFile:
    """A file that calls `gone` with the number of bytes of every read."""

    def __init__(self, file: ReadFile, gone: Callable[[int], None]) -> None:
        self._file = file
        self._gone = gone
        self.close = file.close
        self.size = file.size
        self.path = file.path
        self.pread_cached = file.pread_cached
        self.pread_off_loop = file.pread_off_loop

    def pread(self, size: int, offset: int) -> bytes:
        data = self._file.pread(size, offset)
        self._gone(len(data))
        return data
