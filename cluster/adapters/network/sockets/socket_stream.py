"""One stream of frames over a TCP connection or a Unix socket.

The event loop hands over bytes as they come; all whole frames among them wait for the reader together and
wake it once.  Bytes that wait are bounded on both sides: who is slow to read stops the reading from the
socket, and who meets a full socket waits in `write`.  A side that takes no byte for 15 s while there is
something to write is given up, as gRPC gives up a connection whose pings are not answered.  Who has dialled
and sends a frame by half is given up after 15 to 30 s, unless 1 MiB of it comes in 15 s.

Rule F3: docs/protocol/requests.md.  Layout of the bytes: docs/formats/frame.md, "Sockets".
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from ringmill.cluster.adapters.network.handshake import Introduction
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.errors import RingmillError, Unavailable
from ringmill.cluster.wire.sending_time import PeerClock
from ringmill.cluster.wire.socket_layout import SocketParser, farewell, frame_length, greeting

__all__ = ["SocketStream"]

STALL_S: Final = 15.0
LOOK_S: Final = 15.0
"""A frame that is under way at two looks has come by half; at one it may be that this process was stopped."""
LEAST_BYTES: Final = 1024 * 1024
"""A frame of which so much comes between two looks is on its way.  Chosen, not measured; a drip must end."""
END_S: Final = 1.0  # for the last bytes to be taken
READ_HIGH_BYTES: Final = 1024 * 1024
_READ_LOW_BYTES: Final = 256 * 1024
_WRITE_HIGH_BYTES: Final = 512 * 1024
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 15_000}
"""A probe is not sent again when it is lost, and Linux ends a connection by the last time alone, however few
were sent: several have to fit into it."""

# From 3.12.0 to 3.12.8, in 3.13.0 and in 3.13.1 asyncio lets who writes by `writelines` fill the memory of
# this process: CVE-2024-12254.
_LINES_PAUSE: Final = not (
    (3, 12) <= sys.version_info < (3, 12, 9) or (3, 13) <= sys.version_info < (3, 13, 2)
)

_log = logging.getLogger(__name__)


class SocketStream(asyncio.Protocol):
    """One end of a connection; a FrameStream once both sides have greeted each other.

    `name` says in errors who the other side is; "" takes the address of whoever connected.
    """

    def __init__(
        self,
        name: str,
        *,
        is_dialled: bool,
        max_frame_bytes: int,
        on_connected: Callable[[SocketStream], None] | None = None,
    ) -> None:
        self.name = name
        self.peer_clock: PeerClock | None = None
        self.takes_traces = False
        self._is_dialled = is_dialled
        self._on_connected = on_connected
        self._parser = SocketParser(is_dialled=is_dialled, max_frame_bytes=max_frame_bytes)
        self._frames: deque[bytes] = deque()
        self.waiting_bytes = 0  # in frames that nobody has read
        self._is_secure = False  # TLS is spoken
        self._is_held = False  # nothing is read from the socket
        self._is_full = False  # the socket takes nothing
        self._is_ended = False  # no more frames will come
        self._is_ending = False  # what still comes is of no interest
        self._failure: RingmillError | None = None
        self._looks = 0  # at which the frame that is under way now did not come on
        self._came_bytes = 0  # since the last look
        self._look: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._lost: asyncio.Future[None] = loop.create_future()

    @property
    def certificate(self) -> Mapping[str, Any] | None:
        """What the other side has shown, as SSLSocket.getpeercert returns it; None or empty for none."""
        shown: Mapping[str, Any] | None = self._transport.get_extra_info("peercert")
        return shown

    def watched_by(self, tls: TlsFiles, whose: str) -> None:
        """End when the certificate of the other side is revoked, and tell it why."""
        forget = tls.note_open(self.certificate, whose, self.refuse)
        self._lost.add_done_callback(lambda _: forget())

    async def introduction(self) -> Introduction:
        """What the other side says of itself.  Raises its refusal, ProtocolMismatch, Unavailable."""
        while self._parser.texts is None:
            if self._failure is not None:
                raise self._failure.with_outcome("failed")
            if self._is_ended:
                raise Unavailable(f"{self.name} hung up without a greeting")
            await self._arrival()
        return Introduction.of(self._parser.texts)

    def allow(self, max_frame_bytes: int) -> None:
        """Frames of the other side may be as long, now that it is known."""
        self._parser.max_frame_bytes = max_frame_bytes

    def greet(self, ours: Introduction) -> None:
        """Say what this side is."""
        self._send(greeting(ours.texts(), is_dialling=self._is_dialled))

    async def read(self) -> bytes | None:
        while not self._frames:
            if self._failure is not None:
                raise self._failure.with_outcome("unknown")
            if self._is_ended:
                return None
            await self._arrival()
        frame = self._frames.popleft()
        self.waiting_bytes -= len(frame)
        if self._is_held and self.waiting_bytes <= _READ_LOW_BYTES:
            self._let_go()
        return frame

    async def write(self, frame: bytes) -> None:
        if self._is_ended or self._is_ending:
            raise self._gone()
        if self._is_secure or not _LINES_PAUSE:
            self._transport.write(frame_length(frame) + frame)  # one record, and not one of 4 bytes before it
        else:
            self._transport.writelines((frame_length(frame), frame))
        if self._is_full:
            await self._taken()

    async def close(self) -> None:
        self._transport.abort()
        await asyncio.shield(self._lost)

    def refuse(self, error: RingmillError) -> None:
        """Say why and close at once."""
        self._is_ending = True
        self._send(farewell(error))
        self._transport.close()

    async def end(self, error: RingmillError | None = None) -> None:
        """Say why, if there is a reason; close when all that was written has been taken, or after 1 s."""
        if not self._lost.done():
            self._is_ending = True
            self._let_go()  # what still comes is thrown away, so that the other side gets to read
            if error is not None:
                self._send(farewell(error))
            if self._is_ended or self._is_secure:  # TLS knows no half of an end
                self._transport.close()
            elif not self._transport.is_closing():
                self._transport.write_eof()
        timer = self._loop.call_later(END_S, self._transport.abort)
        try:
            await asyncio.shield(self._lost)
        finally:
            timer.cancel()
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        self._is_secure = transport.get_extra_info("ssl_object") is not None
        self.name = self.name or _caller(transport)
        _set_options(transport)
        if self._on_connected is not None:
            self._on_connected(self)

    def data_received(self, data: bytes) -> None:
        if self._is_ending:
            return
        frames = self._parser.feed(data)
        self._came_bytes += len(data)
        if frames:
            self._looks = 0
        if self._look is None and not self._is_dialled and self._parser.is_within:
            self._came_bytes = 0
            self._look = self._loop.call_later(LOOK_S, self._look_at_half)
        self._frames.extend(frames)
        self.waiting_bytes += sum(map(len, frames))
        self._failure = self._failure or self._parser.failure
        if self._reader is not None and (frames or self._failure or self._parser.texts is not None):
            self._wake()
        if not self._is_held and (self._failure or self.waiting_bytes > READ_HIGH_BYTES):
            self._is_held = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The other side writes nothing more."""
        self._is_ended = True
        if self._parser.is_within and self._failure is None:
            self._failure = Unavailable(f"{self.name}: the stream broke within a frame", outcome="unknown")
        self._wake()
        # This side may have something to say yet: `end` and `close` close.  TLS knows no half of an end.
        return not self._is_ending and not self._is_secure

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_ended = True
        if self._look is not None:
            self._look.cancel()
        self._is_full = False
        if exc is not None and self._failure is None:
            self._failure = Unavailable(f"{self.name}: the stream broke: {exc}", outcome="unknown")
        if not self._lost.done():
            self._lost.set_result(None)
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def _send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _look_at_half(self) -> None:
        """Give up who sends hardly more of a frame; not one that is not read, as other frames wait."""
        self._look = None
        if self._is_ended or self._is_ending or self._failure is not None:
            return
        came_bytes, self._came_bytes = self._came_bytes, 0
        is_slow = self._parser.is_within and not self._is_held and came_bytes < LEAST_BYTES
        self._looks = self._looks + 1 if is_slow else 0
        if self._looks == 2:
            reason = f"{self.name}: half a frame came, and then {came_bytes} bytes in {LOOK_S:g} s: too slow"
            self._failure = Unavailable(reason, outcome="unknown")
            self._wake()
        elif self._parser.is_within:
            self._look = self._loop.call_later(LOOK_S, self._look_at_half)

    def _let_go(self) -> None:
        """Read from the socket again."""
        if self._is_held and not self._lost.done():
            self._is_held = False
            self._transport.resume_reading()

    async def _arrival(self) -> None:
        """Return when something has come, or the end."""
        self._reader = self._loop.create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def _taken(self) -> None:
        """Return when the socket takes bytes again.  Raises Unavailable when the other side is given up."""
        left_bytes = self._transport.get_write_buffer_size()
        while self._is_full:
            self._writer = self._loop.create_future()
            try:
                async with asyncio.timeout(STALL_S):
                    await self._writer
            except TimeoutError:
                now_bytes = self._transport.get_write_buffer_size()
                if now_bytes >= left_bytes:
                    self._give_up(now_bytes)
                left_bytes = now_bytes
            finally:
                self._writer = None
        if self._lost.done():
            raise self._gone()

    def _give_up(self, left_bytes: int) -> None:
        reason = f"{self.name} took none of {left_bytes} bytes for {STALL_S:g} s"
        _log.warning("%s: its connection was closed", reason)
        self._failure = Unavailable(reason, outcome="unknown")
        self._transport.abort()

    def _gone(self) -> RingmillError:
        if self._failure is not None:
            return self._failure.with_outcome("unknown")
        return Unavailable(f"{self.name}: the stream has ended", outcome="unknown")


def _caller(transport: asyncio.BaseTransport) -> str:
    """Who connected, as far as the socket tells."""
    address = transport.get_extra_info("peername")
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "a process of this machine"


def _set_options(transport: asyncio.BaseTransport) -> None:
    """A frame leaves at once; a machine that went away without a word is noticed after 15 s."""
    connection = transport.get_extra_info("socket")
    if connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):  # not every system has all
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
