"""The accepting half of TLS on a socket: a connection becomes a stream when its handshake has succeeded.

Connections are accepted here, and not by the loop's server, for two reasons.  That one keeps the certificates
that it began with, and it is silent about a handshake that failed.  Rule F7: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from ringmill.cluster.adapters.network.sockets.socket_stream import SocketStream
from ringmill.cluster.errors import ProtocolMismatch, Unavailable

__all__ = ["accept_connections", "shake_hands"]

_PAUSE_S: Final = 0.1  # when no connection can be accepted, as with too many open files


async def accept_connections(listening: socket.socket, begin: Callable[[socket.socket, str], None]) -> None:
    """Hand each connection and the address of its other side to `begin`, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, address = await loop.sock_accept(listening)
        except OSError:
            await asyncio.sleep(_PAUSE_S)
        else:
            begin(connection, f"{address[0]}:{address[1]}")


async def shake_hands(
    connection: socket.socket, stream: SocketStream, context: ssl.SSLContext, timeout_s: float
) -> None:
    """Make `stream` that of a connection whose other side speaks TLS and has no bad certificate.

    Raises with the connection closed: ProtocolMismatch when the other side speaks no TLS, shows a bad
    certificate, or does not trust ours; Unavailable when it went away, or did not get as far in time.
    """
    loop = asyncio.get_running_loop()
    try:
        await loop.connect_accepted_socket(
            lambda: stream, connection, ssl=context, ssl_handshake_timeout=timeout_s
        )
    except ssl.SSLError as error:
        raise ProtocolMismatch(f"the TLS handshake failed: {_why(error)}") from None
    except OSError as error:
        raise Unavailable(f"the other side went away within the TLS handshake: {error!r}") from None


def _why(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or "no reason given").lower().replace("_", " ")
