"""The last 1 MiB of what a task process prints, read from a pipe at a bounded rate.

Attempts that share a process are told apart: `cut` gives what the one that is over has printed.  Of several
that are over, each of which has ended with a mark, the last 64 KiB of each are kept: none takes the room of
those before it.

A task that prints without end is slowed down to 64 MiB a second by the full pipe; the node's loop never
spends more on it than copying that.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import os
import termios
from typing import IO, Final

__all__ = ["CapturedOutput"]

KEPT_BYTES: Final = 1024 * 1024
_OF_EACH_BYTES: Final = 64 * 1024  # as much as is told of an attempt
_MOST_MARKS: Final = 32
_BURST_BYTES: Final = 4 * 1024 * 1024
_PAUSE_S: Final = 1 / 16
_LAST_WORDS_S: Final = 1.0
_LOOK_AGAIN_S: Final = 0.001


class CapturedOutput(asyncio.Protocol):
    """One task's stdout and stderr.  `open` gives the descriptor to write to; the caller owns it."""

    def __init__(self, mark: bytes = b"") -> None:
        self.mark = mark
        self._kept = bytearray()
        self._most_bytes = 2 * KEPT_BYTES  # then it is shortened
        self._since_pause = 0
        self._transport: asyncio.ReadTransport | None = None
        self._read_end: IO[bytes] | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> int:
        """Start reading; returns the writing end."""
        read_end, write_end = os.pipe()
        loop = asyncio.get_running_loop()
        self._read_end = os.fdopen(read_end, "rb", 0)
        try:
            self._transport, _ = await loop.connect_read_pipe(lambda: self, self._read_end)
        except BaseException:
            os.close(write_end)
            raise
        return write_end

    def tail(self) -> bytes:
        # from the end, as a task may print marks without end
        *over, last = self._kept.rsplit(self.mark, _MOST_MARKS + 1) if self.mark else [self._kept]
        pieces = [piece[-_OF_EACH_BYTES:] for piece in over[-_MOST_MARKS:]]
        return self.mark.join([*map(bytes, pieces), bytes(last[-KEPT_BYTES:])])

    def note(self, line: str) -> None:
        """Add a line of our own at the end."""
        self._keep(f"\n[ringmill] {line}\n".encode())

    async def cut(self) -> bytes:
        """All that was printed up to now, once the pipe is empty (a second at most); it is forgotten here."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                while self._unread() and not self._closed.done():  # noqa: ASYNC110 - a pipe has no event
                    await asyncio.sleep(_LOOK_AGAIN_S)
        await asyncio.sleep(0)  # what was read last is handed over in the loop's next turn
        printed = self.tail()
        self._kept.clear()
        self._most_bytes = 2 * KEPT_BYTES
        return printed

    def _unread(self) -> int:
        """Bytes that wait in the pipe."""
        if self._read_end is None or self._read_end.closed:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._read_end, termios.FIONREAD, count)
        return count[0]

    async def finished(self) -> None:
        """Wait until all of it has been read; a second at most, as a descendant may hold the pipe."""
        await asyncio.wait([self._closed], timeout=_LAST_WORDS_S)

    def close(self) -> None:
        """Read no more of it."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._keep(data)
        self._since_pause += len(data)
        if self._since_pause >= _BURST_BYTES and self._transport is not None:
            self._since_pause = 0
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(_PAUSE_S, self._resume)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _keep(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > self._most_bytes:
            self._kept[:] = self.tail()
            self._most_bytes = len(self._kept) + KEPT_BYTES  # at most 4 MiB, where there are many marks
