"""A port that answers GET of one path over HTTP, and nothing else: what a monitoring system asks for.

aiohttp is imported here and nowhere else in a node, when one with such a port starts.  With TLS files the
port speaks TLS only; each connection is looked at with the certificates of that moment.

The port has few connections.  A new one takes the place of the one that has said nothing for longest, so
nobody can shut the port by holding them.  What is no HTTP is answered, and fills no log.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

from aiohttp import web

from ringmill.cluster.errors import InvalidArgument, PermissionDenied, RingmillError

__all__ = ["MOST_CONNECTIONS", "PagePort", "PortTls", "ServedText", "TooOften"]

_BEARER: Final = "bearer "
_MOST_HEADER_BYTES: Final = 8190
_HANDSHAKE_S: Final = 5.0
HEAD_S: Final = 5.0  # from connecting, or from the first byte of a request, to the end of its head
_IDLE_S: Final = 75.0  # between two requests; Prometheus asks each minute or more often
MOST_CONNECTIONS: Final = 16
_CLOSE_S: Final = 0.25  # for answers under way, once the port closes: a part of the 5 s of a stop

_log = logging.getLogger(__name__)
_silent = logging.getLogger("ringmill.page.http")
_silent.disabled = True


@dataclass(frozen=True, slots=True)
class ServedText:
    """The answer of such a port."""

    body: bytes
    content_type: str


class TooOften(Exception):
    """Whoever asks has asked too often, and may do so again after `wait_s`."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many requests; the next one may come in {wait_s:.1f} s")
        self.wait_s = wait_s


class PortTls(Protocol):
    """What a port with TLS shows and trusts, as it is at the moment."""

    def server_context(self) -> ssl.SSLContext:
        """What a connection is accepted with."""
        ...

    def check_client(self, certificate: Mapping[str, Any] | None) -> None:
        """Raises PermissionDenied for a certificate of the other side that is not to be trusted."""
        ...


class PagePort:
    """`async with` it to listen.  `make` gets the token of a request ("" for none) and its Accept header,
    after `admit` got the token and the address of who asks, where there is one.  Who hangs up is admitted no
    further.

    A PermissionDenied of `admit` or `make`, or InvalidArgument for a damaged token, is answered with 401,
    TooOften with 429, any other of our errors with 503.
    """

    def __init__(
        self,
        address: str,
        path: str,
        make: Callable[[str, str], ServedText],
        *,
        tls: PortTls | None = None,
        admit: Callable[[str, str], Awaitable[None]] | None = None,
    ) -> None:
        self.address = address
        self._path = path
        self._make = make
        self._tls = tls
        self._admit = admit
        self._open: dict[_OpenPage, None] = {}  # who has said nothing for longest comes first

    async def __aenter__(self) -> Self:
        """Raises InvalidArgument, naming the address, when it cannot be listened on."""
        app = web.Application(client_max_size=1024)
        app.router.add_get(self._path, self._answer)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=_CLOSE_S
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

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listening.sockets[0].getsockname()[1])

    def _accept(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        assert server is not None
        return _OpenPage(server, self._open)

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
            token = _token_of(request.headers)
            if self._admit is not None:
                await self._admit(token, request.remote or "?")
            page = self._make(token, request.headers.get("Accept", ""))
        except (PermissionDenied, InvalidArgument) as error:
            return web.Response(status=401, text=f"{error.message}\n", headers={"WWW-Authenticate": "Bearer"})
        except TooOften as error:
            after = {"Retry-After": str(math.ceil(error.wait_s))}
            return web.Response(status=429, text=f"{error}\n", headers=after)
        except RingmillError as error:
            return web.Response(status=503, text=f"{error.message}\n")
        except Exception:  # noqa: BLE001 - the boundary: whoever asks is answered
            _log.error("a page could not be made", exc_info=True)
            return web.Response(status=500)
        return web.Response(body=page.body, headers={"Content-Type": page.content_type})


class _OpenPage(web.RequestHandler):
    """One connection, in the order of those that are open."""

    __slots__ = ("_head_timer", "_order")

    def __init__(self, server: web.Server, order: dict[_OpenPage, None]) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=_IDLE_S,
            logger=_silent,
            access_log=None,  # type: ignore[arg-type]  # None switches it off
            max_line_size=_MOST_HEADER_BYTES,
            max_field_size=_MOST_HEADER_BYTES,
        )
        self._order = order
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._order) >= MOST_CONNECTIONS:
            next(iter(self._order)).leave()
        self._order[self] = None
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._order.pop(self, None)
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self in self._order:
            self._order[self] = self._order.pop(self)
        super().data_received(data)
        if self._messages:
            self._head_came()
        elif self._head_timer is None:
            self._expect_head()

    def leave(self) -> None:
        """End it at once, whatever it has not been sent yet."""
        self._order.pop(self, None)
        self._head_came()
        if self.transport is not None:
            self.transport.abort()

    def _expect_head(self) -> None:
        self._head_timer = asyncio.get_running_loop().call_later(HEAD_S, self.leave)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _token_of(headers: Mapping[str, str]) -> str:
    """What "Authorization: Bearer TOKEN" gives."""
    given = headers.get("Authorization", "")
    return given[len(_BEARER) :].strip() if given[: len(_BEARER)].lower() == _BEARER else ""
