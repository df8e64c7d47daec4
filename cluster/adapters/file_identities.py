"""Which file a path leads to, whatever its name."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

__all__ = ["identities"]


def identities(paths: Iterable[str], *, least_names: int = 1) -> frozenset[tuple[int, int]]:
    """Device and inode of those that are regular files and have that many names; links are followed."""
    found = set()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue  # it may not exist yet
        if stat.S_ISREG(status.st_mode) and status.st_nlink >= least_names:
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)
