"""A port that answers GET of one path over HTTP, and nothing else: what a monitoring system asks a node for.

aiohttp is imported here and nowhere else in a node, when one with such a port starts.  With TLS files the
port speaks TLS only; each connection is looked at with the certificates of that moment.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from aiohttp import web

from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.errors import InvalidArgument, PermissionDenied, RingmillError

__all__ = ["MOST_CONNECTIONS", "PagePort", "ServedText"]

_BEARER: Final = "bearer "
_MOST_HEADER_BYTES: Final = 8190
_HANDSHAKE_S: Final = 5.0
MOST_CONNECTIONS: Final = 16
_CLOSE_S: Final = 1.0  # for answers under way, once the port closes


@dataclass(frozen=True, slots=True)
class ServedText:
    """The answer of such a port."""

    body: bytes
    content_type: str


class PagePort:
    """`async with` it to listen.  `make` gets the token of a request ("" for none) and its Accept header.

    A PermissionDenied of `make`, or InvalidArgument for a damaged token, is answered with 401, any other of
    our errors with 503.
    """

    def __init__(
        self, address: str, path: str, make: Callable[[str, str], ServedText], *, tls: TlsFiles | None = None
    ) -> None:
        self.address = address
        self._path = path
        self._make = make
        self._tls = tls

    async def __aenter__(self) -> Self:
        """Raises InvalidArgument, naming the address, when it cannot be listened on."""
        app = web.Application(client_max_size=1024)
        app.router.add_get(self._path, self._answer)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=_CLOSE_S,
            max_line_size=_MOST_HEADER_BYTES,
            max_field_size=_MOST_HEADER_BYTES,
        )
        await self._runner.setup()
        host, _, port = self.address.rpartition(":")
        context = self._context()
        try:
            self._listening = await asyncio.get_running_loop().create_server(
                self._accept,
                host.strip("[]"),
                int(port),
                ssl=context,
                ssl_handshake_timeout=None if context is None else _HANDSHAKE_S,
            )
        except OSError as error:
            await self._runner.cleanup()
            raise InvalidArgument(
                f"cannot listen on {self.address}: {error.strerror or error}",
                hint="see who holds the port with `ss -ltnp`, or choose another with --metrics",
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        await self._runner.cleanup()

    def _accept(self) -> asyncio.BaseProtocol:
        """Who holds many connections open, and asks nothing, must not use up the descriptors of the node."""
        server = self._runner.server
        assert server is not None
        return server() if len(server.connections) < MOST_CONNECTIONS else _Closing()

    def _context(self) -> ssl.SSLContext | None:
        tls = self._tls
        if tls is None:
            return None
        context = tls.server_context()

        def newest(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _: ssl.SSLContext) -> None:
            connection.context = tls.server_context()

        context.sni_callback = newest  # called at each handshake, also without a name
        return context

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            if self._tls is not None and request.transport is not None:
                self._tls.check_client(request.transport.get_extra_info("peercert"))
            page = self._make(_token_of(request.headers), request.headers.get("Accept", ""))
        except (PermissionDenied, InvalidArgument) as error:
            return web.Response(status=401, text=f"{error.message}\n", headers={"WWW-Authenticate": "Bearer"})
        except RingmillError as error:
            return web.Response(status=503, text=f"{error.message}\n")
        return web.Response(body=page.body, headers={"Content-Type": page.content_type})


class _Closing(asyncio.Protocol):
    """Closes a connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _token_of(headers: Mapping[str, str]) -> str:
    """What "Authorization: Bearer TOKEN" gives."""
    given = headers.get("Authorization", "")
    return given[len(_BEARER) :].strip() if given[: len(_BEARER)].lower() == _BEARER else ""
