"""Files to plan a job from, but for those of the cluster itself, whatever their paths are.

A hard link to the cluster's token, or a link that is followed, has another path and is the same file: it has
the same device and inode.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ringmill.cluster.adapters.file_identities import identities
from ringmill.cluster.adapters.files.url_files import UrlFiles
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.file_urls import is_url
from ringmill.cluster.mapreduce.messages.reach import is_within, path_here

__all__ = ["GuardedFiles"]


class GuardedFiles(UrlFiles):
    """Raises InvalidArgument when it is asked for the size of one of these files, under any name, or to make
    a folder in one of these folders.

    The size of each input is asked for when it is planned.
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

    def size(self, path: str) -> int:
        here = path_here(path)
        if is_url(here):
            return super().size(path)
        status = os.stat(here)
        if (status.st_dev, status.st_ino) in self._guarded:
            raise InvalidArgument(
                f"{path} is a link to a file of the cluster itself",
                hint="tasks do not read that; give another input or side data",
            )
        return status.st_size
