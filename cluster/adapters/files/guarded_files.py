"""Files to plan or publish a job with, but for those of the cluster itself, whatever their paths are.

A hard link to the cluster's token, or a link that is followed, has another path and is the same file: it has
the same device and inode.

What is done with files is counted: so the node can tell a step that has much to do from one that hangs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

from ringmill.cluster.adapters.file_identities import identities
from ringmill.cluster.adapters.files.counted_files import CountedFiles, CountedRead
from ringmill.cluster.adapters.files.url_files import UrlFiles
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.file_urls import is_url
from ringmill.cluster.mapreduce.messages.reach import is_within, path_here
from ringmill.cluster.ports import ReadFile

__all__ = ["GuardedFiles"]


T = TypeVar("T")


class GuardedFiles(CountedFiles):
    """Raises InvalidArgument when it is asked for the size of one of these files, under any name, or to make
    a folder in one of these folders.

    The size of each input is asked for when it is planned.  `bytes_moved` grows by one with each file that is
    looked at or changed, too.
    """

    def __init__(self, guarded: Iterable[str]) -> None:
        super().__init__()
        self._paths = tuple(guarded)
        self._guarded = identities(self._paths)

    def mkdir(self, path: str) -> None:
        """The folder of parts is made when a job is planned, beside its output."""
        real = os.path.realpath(path)
        if any(is_within(real, os.path.realpath(each)) for each in self._paths):
            raise InvalidArgument(
                f"{os.path.dirname(path)} leads by a link into a folder of the cluster itself",
                hint="tasks do not write there; give another output",
            )
        super().mkdir(path)
        self.bytes_moved += 1

    def size(self, path: str) -> int:
        here = path_here(path)
        if is_url(here):
            return self._done(super().size(path))
        status = os.stat(here)
        if (status.st_dev, status.st_ino) in self._guarded:
            raise InvalidArgument(
                f"{path} is a link to a file of the cluster itself",
                hint="tasks do not read that; give another input or side data",
            )
        return self._done(status.st_size)

    def open_read(self, path: str) -> ReadFile:
        """One that is cut off meanwhile gives fewer bytes, and is not taken for an input that has changed."""
        return CountedRead(UrlFiles.open_read(self, path), self._moved)

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        self.bytes_moved += 1

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self.bytes_moved += 1

    def fsync_dir(self, path: str) -> None:
        super().fsync_dir(path)
        self.bytes_moved += 1

    def list(self, path: str) -> list[str]:
        return self._done(super().list(path))

    def exists(self, path: str) -> bool:
        return self._done(super().exists(path))

    def is_dir(self, path: str) -> bool:
        return self._done(super().is_dir(path))

    def is_file(self, path: str) -> bool:
        return self._done(super().is_file(path))

    def mtime_ns(self, path: str) -> int:
        return self._done(super().mtime_ns(path))

    def _done(self, result: T) -> T:
        self.bytes_moved += 1
        return result
