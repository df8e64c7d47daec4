"""Appends of what arrives over the network, off the event loop.

A disk that is slower than the network makes each write wait, once much of the memory is dirty; the loop must
not wait with it (docs/architecture.md, "Processes").
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.ports import AppendFile, FileSystem

__all__ = ["append_off_loop"]

_PATIENCE_S: Final = 1.0


async def append_off_loop(files: FileSystem, file: AppendFile, data: bytes) -> None:
    """Append all of it.  Cancelled, a write that has begun is waited for, so that the file may be closed, but
    for a second at most: a disk may hang.  One that has not begun is left out.

    Raises OSError.
    """
    write = _Write(file, data)
    work = asyncio.ensure_future(files.off_loop(write.run))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        if write.is_under_way_when_given_up():
            await asyncio.wait([work], timeout=_PATIENCE_S)
        work.cancel()
        raise


class _Write:
    """One append, in whatever thread comes to it.  Each side first says what it does, and then looks at the
    other: so either the thread leaves it out, or who gives it up knows that it has begun."""

    def __init__(self, file: AppendFile, data: bytes) -> None:
        self._file = file
        self._data = data
        self._has_begun = self._is_given_up = False

    def run(self) -> None:
        self._has_begun = True
        if not self._is_given_up:
            self._file.append(self._data)

    def is_under_way_when_given_up(self) -> bool:
        """From now on it does not begin any more; whether it has."""
        self._is_given_up = True
        return self._has_begun
