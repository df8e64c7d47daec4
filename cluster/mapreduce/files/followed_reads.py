"""Counts what is read of files, so that progress is known where records do not tell how many bytes they were.

I/O only through the FileSystem passed in.
"""

from __future__ import annotations

from ringmill.cluster.ports import FileSystem, ReadFile

__all__ = ["FollowedReads"]


class FollowedReads:
    """Opens files; `bytes_read` grows with every read of them."""

    def __init__(self, files: FileSystem) -> None:
        self.bytes_read = 0
        self._files = files

    def open_read(self, path: str) -> ReadFile:
        return _FollowedFile(self._files.open_read(path), self)


class _FollowedFile:
    def __init__(self, file: ReadFile, reads: FollowedReads) -> None:
        self._file = file
        self._reads = reads
        self.close = file.close
        self.size = file.size
        self.path = file.path
        self.pread_cached = file.pread_cached
        self.pread_off_loop = file.pread_off_loop

    def pread(self, size: int, offset: int) -> bytes:
        data = self._file.pread(size, offset)
        self._reads.bytes_read += len(data)
        return data
