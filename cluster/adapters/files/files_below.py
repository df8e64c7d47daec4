"""Opens a file in a folder where code that is not trusted may write, without being led elsewhere.

The names below the folder are opened one after another, each relative to the one before, so that nothing that
is renamed or linked meanwhile counts.  Neither does a pipe, whose opening would wait for a writer.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from typing import Final

__all__ = ["descriptor_below"]

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def descriptor_below(folder: str, path: str) -> int:
    """A descriptor of the regular file at a path that begins with the folder's.

    Raises OSError: with ELOOP or ENOTDIR for a link below the folder, with EINVAL for what is not one.
    """
    *between, name = posixpath.relpath(path, folder).split("/")
    at = os.open(folder, _FOLDER)
    try:
        for each in between:
            below = os.open(each, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        descriptor = os.open(name, _FILE, dir_fd=at)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", path)
    return descriptor
