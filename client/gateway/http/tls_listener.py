"""Listens with TLS, and bounds the handshakes that are under way.

`loop.create_server` tells of a connection when its handshake is over, so callers that begin one and stop
would have no bound.  Here each has a time, and the one that began first makes room for the newest: an honest
handshake takes milliseconds, so only those that have stopped are old.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["HANDSHAKE_S", "MOST_HANDSHAKES", "TlsListener"]

HANDSHAKE_S: Final = 10.0
"""From connecting to the end of the handshake, in seconds."""
MOST_HANDSHAKES: Final = 256
BACKLOG: Final = 512
_AGAIN_S: Final = 0.2
"""After an error of accepting, such as no file descriptor left."""
_log = logging.getLogger("ringmill.gateway")


class TlsListener:
    """Makes a protocol of each connection whose handshake was good."""

    def __init__(
        self, sockets: Sequence[socket.socket], tls: ssl.SSLContext, protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        self.sockets = sockets
        self._tls = tls
        self._protocol = protocol
        self._handshakes: dict[asyncio.Task[None], None] = {}  # in the order in which they began
        self._accepting = [asyncio.create_task(self._accept(each)) for each in sockets]

    @classmethod
    async def open(
        cls, host: str, port: int, tls: ssl.SSLContext, protocol: Callable[[], asyncio.Protocol]
    ) -> TlsListener:
        """Listen at all addresses that the host has.  Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        with contextlib.ExitStack() as opened:
            sockets = []
            for family, _, _, _, address in found:
                each = socket.create_server(address, family=family, backlog=BACKLOG)
                sockets.append(opened.enter_context(each))
                each.setblocking(False)
            opened.pop_all()  # they stay open
        return cls(sockets, tls, protocol)

    @property
    def under_way(self) -> int:
        """How many handshakes have begun, and have not ended."""
        return len(self._handshakes)

    def close(self) -> None:
        """Take no new connection, and end the handshakes that are under way."""
        for task in (*self._accepting, *self._handshakes):
            task.cancel()
        for each in self.sockets:
            each.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:
                _log.warning("no connection is accepted: %s", error)
                await asyncio.sleep(_AGAIN_S)
                continue
            if len(self._handshakes) >= MOST_HANDSHAKES:
                next(iter(self._handshakes)).cancel()
            handshake = asyncio.create_task(self._shake_hands(connection))
            self._handshakes[handshake] = None
            handshake.add_done_callback(self._handshake_ended)
            await asyncio.sleep(0)  # a flood of connections is accepted without waiting

    async def _shake_hands(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol, connection, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_S
            )

    def _handshake_ended(self, handshake: asyncio.Task[None]) -> None:
        del self._handshakes[handshake]
