"""The HTTP door: listens, and ends in order.  What it answers is in the table of routes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from aiohttp import web

from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.http.connection_guard import Connections
from ringmill.client.gateway.http.http_admission import HttpAdmission
from ringmill.client.gateway.http.http_answering import HttpAnswering
from ringmill.client.gateway.http.request_checks import SiteRules
from ringmill.client.gateway.http.table.http_route import HttpRoute, RouteTable
from ringmill.client.gateway.http.table.http_routes import ROUTES
from ringmill.client.gateway.http.tls_listener import BACKLOG, TlsListener
from ringmill.client.gateway.jobs.gateway_jobs import GatewayJobs
from ringmill.client.gateway.meters.door_meter import DoorMeter
from ringmill.client.local.tcp_ports import is_loopback
from ringmill.client.routing.tracing import Tracing, no_tracer
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ports import Entropy

__all__ = ["HttpDoor", "HttpOptions", "Pages"]


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Where the door is, and what it allows.  `tls` encrypts; without it `host` must be of loopback.
    Without `jobs` none are submitted."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    cors_origins: Sequence[str] = ()
    admission: HttpAdmission = field(default_factory=HttpAdmission)
    most_connections: int = 1000
    tracing: Tracing = no_tracer
    jobs: GatewayJobs | None = None
    meter: DoorMeter = field(default_factory=DoorMeter)


class Pages(Protocol):
    """Routes for people's browsers, in no OpenAPI document."""

    def routes(self) -> Sequence[HttpRoute]:
        """What is answered."""
        ...

    async def aclose(self) -> None:
        """End what is under way."""
        ...


class HttpDoor:
    """A Door for callers that speak HTTP/1.1."""

    def __init__(
        self,
        options: HttpOptions,
        clients: ClientsByToken,
        entropy: Entropy,
        pages: Sequence[Pages] = (),
    ) -> None:
        """`pages` are served beside the table of routes.

        Raises InvalidArgument for an address beyond this machine without TLS.
        """
        if options.tls is None and not is_loopback(options.host):
            raise InvalidArgument(
                f"--http {options.host} is not an address of loopback, and there is no certificate",
                hint="--http-cert and --http-key encrypt what other machines send",
            )
        rules = SiteRules(only_loopback=options.tls is None, cors_origins=options.cors_origins)
        run_id = entropy.random_bytes("gateway.run", 4).hex()
        self._options = options
        self.admission = options.admission
        self.meter = options.meter
        self._pages = pages
        table = RouteTable((*ROUTES, *(route for each in pages for route in each.routes())))
        self._ending = asyncio.Event()
        self._answering = HttpAnswering(
            table, clients, rules, options.admission, run_id, self._ending, self.meter, options.tracing,
            options.jobs,
        )  # fmt: skip
        self._connections: Connections | None = None
        self._listening: asyncio.Server | TlsListener | None = None

    @property
    def open_connections(self) -> int:
        """How many callers are connected."""
        return 0 if self._connections is None else self._connections.open

    async def open(self) -> str:
        """Listen; the address to ask.  Raises InvalidArgument when the port is taken."""
        options = self._options
        server = web.Server(self._answering, handler_cancellation=True, access_log=None)
        connections = self._connections = Connections(
            server, options.most_connections, partial(self.meter.refuse, "connections")
        )
        loop = asyncio.get_running_loop()
        try:
            if options.tls is not None:
                self._listening = await TlsListener.open(options.host, options.port, options.tls, connections)
            else:
                self._listening = await loop.create_server(
                    connections, options.host, options.port, backlog=BACKLOG
                )
        except OSError as error:
            why = error.strerror or str(error)
            raise InvalidArgument(
                f"--http {options.host}:{options.port} cannot be listened on: {why}",
                hint="another port: --http 127.0.0.1:8081",
            ) from error
        port = self._listening.sockets[0].getsockname()[1]
        host = f"[{options.host}]" if ":" in options.host else options.host
        return f"{'http' if options.tls is None else 'https'}://{host}:{port}"

    async def close(self, grace_s: float) -> None:
        """Take no new connection, end what only its caller would end, and let requests under way end."""
        self._ending.set()
        if self._listening is not None:
            self._listening.close()
        for each in self._pages:
            await each.aclose()
        if self._connections is not None:
            await self._connections.end(grace_s)
        if self._options.jobs is not None:
            await self._options.jobs.aclose()
