"""A caller that speaks just enough HTTP/2 to begin gRPC calls, and leave them by half or read no answers."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import Final, Self

__all__ = ["MAX_STREAMS", "RawHttp2"]

MAX_STREAMS: Final = 3
"""The setting SETTINGS_MAX_CONCURRENT_STREAMS."""
_WINDOW: Final = 4
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4


class RawHttp2:
    """One connection."""

    def __init__(self) -> None:
        self.settings: dict[int, int] = {}
        self.read_bytes = 0
        self._settled = asyncio.Event()
        self._ends: dict[int, asyncio.Event] = {}

    async def open(self, address: str, window: int = 65535) -> Self:
        """Connect, and hear the other side's settings.  Each answer has this window until `read`."""
        host, _, port = address.rpartition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        self._writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _window(window))
        self._listening = asyncio.create_task(self._listen())
        await self._settled.wait()
        return self

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        self._listening.cancel()
        await asyncio.wait([self._listening])

    def begin(self, path: str, claimed: int, sent: bytes) -> asyncio.Event:
        """Begin a call whose message is to have `claimed` bytes, of which these come; set once it is over.

        With all of them the request is whole.
        """
        stream = 2 * len(self._ends) + 1
        ended = self._ends[stream] = asyncio.Event()
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "localhost",
            "content-type": "application/grpc",
            "te": "trailers",
        }
        head = b"".join(_field(name, value) for name, value in fields.items())
        self._writer.write(_frame(_HEADERS, _END_HEADERS, stream, head))
        flags = _END_STREAM if claimed == len(sent) else 0
        self._writer.write(_frame(_DATA, flags, stream, struct.pack(">BI", 0, claimed) + sent))
        return ended

    async def until_closed(self) -> None:
        """Wait until the other side has closed the connection."""
        await asyncio.wait([self._listening])

    def read(self, window: int) -> None:
        """Take this much of each answer."""
        self._writer.write(_window(window) + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))

    async def _listen(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await self._reader.readexactly(9)
                size, kind, flags, stream = struct.unpack(">IBBI", b"\0" + head)
                await self._take(kind, flags, stream, await self._reader.readexactly(size))

    async def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            self.settings |= struct.iter_unpack(">HI", body)
            self._writer.write(_frame(_SETTINGS, _ACK, 0, b""))
            self._settled.set()
        elif kind == _PING and not flags & _ACK:
            self._writer.write(_frame(_PING, _ACK, 0, body))
        elif kind == _DATA:
            self.read_bytes += len(body)
        elif kind == _HEADERS and flags & _END_STREAM:
            self._ends[stream].set()


def _window(size: int) -> bytes:
    return _frame(_SETTINGS, 0, 0, struct.pack(">HI", _WINDOW, size))


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def _field(name: str, value: str) -> bytes:
    """A header as HPACK writes it without any table."""
    return b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))
