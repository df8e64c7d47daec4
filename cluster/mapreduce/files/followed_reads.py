"""An input file whose reads are counted: progress where records do not tell how many bytes they were.

A read that ends before the file does tells of a file that was cut off since it was opened.  It is an error,
as its reader would take it for the end of the file.

I/O only through the ReadFile passed in.
"""

from __future__ import annotations

from collections.abc import Callable

from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
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
        """Raises TaskFailed for a file that has become shorter, OSError."""
        data = self._file.pread(size, offset)
        if len(data) < min(size, self.size - offset):
            end = offset + len(data)
            raise TaskFailed(
                Cause.INPUT_CHANGED,
                f"input {self.path} changed under the job: of {self.size} bytes {end} were left when it was "
                "read",
            )
        self._gone(len(data))
        return data
