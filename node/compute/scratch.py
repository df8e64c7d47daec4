"""The scratch folder of a worker at its start: what the former start left there is out of the way at once."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from ringmill.cluster.ports import FileSystem

__all__ = ["put_aside"]

_ASIDE: Final = ".left-"


def put_aside(files: FileSystem, folder: str, start: str) -> str:
    """Make the folder, and move all that lies in it into one inside, which is returned; that may be deleted.

    It may be much, and on a bad disk some of it cannot be moved or deleted: neither holds up a start.  Raises
    OSError when the folder cannot be made.
    """
    files.mkdir(folder)
    left = files.list(folder)
    aside = f"{folder}/{_ASIDE}{start}"
    files.mkdir(aside)
    for name in left:
        with suppress(OSError):
            files.rename(f"{folder}/{name}", f"{aside}/{name}")
    return aside
