"""The files of a task, which count the bytes read and written: proof of progress for code that reports
rarely.

A merge of many runs, or a group larger than memory, may not report for minutes; its reads and writes show
that it is not stuck.
"""

from __future__ import annotations

from ringmill.cluster.adapters.files.url_files import UrlFiles
from ringmill.cluster.mapreduce.files.followed_reads import FollowedFile
from ringmill.cluster.ports import AppendFile, Buffer, ReadFile

__all__ = ["CountedFiles", "CountedRead"]


class CountedFiles(UrlFiles):
    """`bytes_moved` grows with every read and append, from whatever thread."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes_moved = 0

    def create(self, path: str) -> AppendFile:
        return _CountedAppend(super().create(path), self)

    def open_append(self, path: str) -> AppendFile:
        return _CountedAppend(super().open_append(path), self)

    def open_read(self, path: str) -> ReadFile:
        return FollowedFile(super().open_read(path), self._moved)

    def open_below(self, folder: str, path: str) -> ReadFile:
        return CountedRead(super().open_below(folder, path), self._moved)

    def _moved(self, count: int) -> None:
        self.bytes_moved += count


class CountedRead(FollowedFile):
    """A file that may be cut off meanwhile: then it gives fewer bytes, and raises nothing."""

    def pread(self, size: int, offset: int) -> bytes:
        data = self._file.pread(size, offset)
        self._gone(len(data))
        return data


class _CountedAppend:
    def __init__(self, file: AppendFile, counter: CountedFiles) -> None:
        self._file = file
        self._counter = counter
        self.sync = file.sync
        self.close = file.close

    @property
    def path(self) -> str:
        return self._file.path

    @property
    def size(self) -> int:
        return self._file.size

    def append(self, data: Buffer) -> None:
        self._counter.bytes_moved += len(data)
        self._file.append(data)

    async def append_and_sync(self, data: Buffer, *, off_loop: bool = False) -> None:
        self._counter.bytes_moved += len(data)
        await self._file.append_and_sync(data, off_loop=off_loop)
