"""Appends of what arrives over the network, off the event loop.

A disk that is slower than the network makes each write wait, once much of the memory is dirty; the loop must
not wait with it (docs/architecture.md, "Processes").
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ringmill.cluster.ports import AppendFile, FileSystem

__all__ = ["append_off_loop"]


async def append_off_loop(files: FileSystem, file: AppendFile, data: bytes) -> None:
    """Append all of it.  Cancelled, it is over only with the write: then the file may be closed.

    Raises OSError.
    """
    work = asyncio.ensure_future(files.off_loop(file.append, data))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        with suppress(OSError):
            await work
        raise
