"""The accepting half of TLS on a socket: a connection becomes a stream when its handshake has succeeded.

The handshake is made here, and not by the loop's server, because that one would tell of a failure in the
log of the loop, with a trace for every stranger.  Rule F7: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from ringmill.cluster.adapters.network.sockets.socket_stream import SocketStream
from ringmill.cluster.errors import ProtocolMismatch, Unavailable

__all__ = ["Knock", "secure"]


class Knock(asyncio.Protocol):
    """A connection before its handshake; nothing is read from it."""

    transport: asyncio.Transport

    def __init__(self, on_connected: Callable[[Knock], None]) -> None:
        self._on_connected = on_connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.pause_reading()
        self._on_connected(self)

    @property
    def name(self) -> str:
        """The address of whoever connected."""
        address = self.transport.get_extra_info("peername")
        return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "a process of this machine"


class _Early(asyncio.Protocol):
    """Keeps what comes along with the last message of the handshake."""

    def __init__(self) -> None:
        self._came: list[bytes] = []
        self._is_over = False

    def data_received(self, data: bytes) -> None:
        self._came.append(data)

    def eof_received(self) -> None:
        self._is_over = True

    def hand_over(self, stream: SocketStream) -> None:
        for data in self._came:
            stream.data_received(data)
        if self._is_over:
            stream.eof_received()


async def secure(knock: Knock, stream: SocketStream, context: ssl.SSLContext, timeout_s: float) -> None:
    """Shake hands, and give the connection to `stream`.

    Raises ProtocolMismatch with the connection closed: the other side speaks no TLS, shows a bad
    certificate, or does not trust ours.  Raises Unavailable when it hung up, or did not get as far in time.
    """
    early = _Early()
    try:
        transport = await asyncio.get_running_loop().start_tls(
            *(knock.transport, early, context), server_side=True, ssl_handshake_timeout=timeout_s
        )
    except (OSError, asyncio.CancelledError) as error:  # an SSLError is an OSError
        knock.transport.abort()
        if isinstance(error, asyncio.CancelledError):
            raise
        if not isinstance(error, ssl.SSLError):
            raise Unavailable(f"the other side went away within the TLS handshake: {error!r}") from None
        raise ProtocolMismatch(f"the TLS handshake failed: {_why(error)}") from None
    if transport is None:
        raise Unavailable("the other side went away within the TLS handshake")
    transport.set_protocol(stream)
    stream.connection_made(transport)
    early.hand_over(stream)


def _why(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or "no reason given").lower().replace("_", " ")
