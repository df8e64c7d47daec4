"""The port on which a gateway serves its metrics to Prometheus, as a node does."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from ringmill.client.arguments import checked_token
from ringmill.client.cli.doors.door_place import host_and_port
from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.protection.caller_limits import CallerLimits, SharedRoom
from ringmill.client.local.tcp_ports import is_loopback
from ringmill.cluster.adapters.network.http.exposition import Exposition
from ringmill.cluster.adapters.network.http.page_port import PagePort, ServedText, TooOften
from ringmill.cluster.errors import InvalidArgument, Overloaded, PermissionDenied
from ringmill.cluster.meters.family import Family

__all__ = ["METRICS_PATH", "MetricsDoor"]

METRICS_PATH: Final = "/metrics"
_MOST_TRIED: Final = 64  # tokens that no node has confirmed, also of those who have hung up
_TRIED_OF_ONE: Final = 16


class MetricsDoor:
    """A Door.  With TLS it serves whoever shows a token that the nodes know, and without TLS all of this
    machine: what it tells has no key, token or value."""

    def __init__(
        self,
        place: str,
        tls: ssl.SSLContext | None,
        clients: ClientsByToken,
        families: Callable[[], Sequence[Family]],
        callers: CallerLimits,
    ) -> None:
        """`callers` are those of all doors of the gateway: they hold where a token is asked for.

        Raises InvalidArgument for a place that is not one, or is not to be listened on without TLS."""
        host, port = host_and_port("--metrics", place, 9120)
        if tls is None and not is_loopback(host):
            raise InvalidArgument(
                f"--metrics {host} is not an address of loopback, and there is no certificate",
                hint="--http-cert and --http-key encrypt what other machines ask for",
            )
        self._clients = clients
        self._callers = callers
        self._tried = SharedRoom(_MOST_TRIED, _TRIED_OF_ONE)
        self._trying: set[asyncio.Task[None]] = set()
        self._host = f"[{host}]" if ":" in host else host
        self._scheme = "http" if tls is None else "https"
        exposition = Exposition(families)
        self._page = PagePort(
            f"{self._host}:{port}",
            METRICS_PATH,
            lambda token, accept: ServedText(*exposition.text(accept)),
            tls=None if tls is None else _OwnCertificate(tls),
            admit=None if tls is None else self._admit,
        )
        self._is_open = False

    async def open(self) -> str:
        """Listen; the address to ask.  Raises InvalidArgument when the port is taken."""
        await self._page.__aenter__()
        self._is_open = True
        return f"{self._scheme}://{self._host}:{self._page.port}{METRICS_PATH}"

    async def close(self, grace_s: float) -> None:
        """Take no new connection; an answer under way has a quarter of a second."""
        if self._is_open:
            self._is_open = False
            await self._page.__aexit__()
            for trying in self._trying:
                trying.cancel()

    async def _admit(self, token: str, address: str) -> None:
        if not token:
            raise PermissionDenied("a token of the cluster is needed here")
        caller = self._clients.caller(checked_token(token), address)
        if wait_s := self._callers.take(caller):
            raise TooOften(wait_s)
        if self._clients.knows(token):
            await self._clients.confirm(token, caller)
            return
        if not self._tried.enter(caller):
            raise Overloaded("the port tries other tokens of this address now")
        trying = asyncio.create_task(self._clients.confirm(token, caller))
        self._trying.add(trying)
        trying.add_done_callback(partial(self._has_tried, caller))
        await asyncio.shield(trying)  # who hangs up does not end it, so it counts until it has ended

    def _has_tried(self, caller: str, trying: asyncio.Task[None]) -> None:
        self._tried.leave(caller)
        self._trying.discard(trying)
        if not trying.cancelled():
            trying.exception()  # whoever has not hung up hears of it


class _OwnCertificate:
    """The certificate of the door for HTTP; callers are not asked for one."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def server_context(self) -> ssl.SSLContext:
        return self._context

    def check_client(self, certificate: Mapping[str, Any] | None) -> None:
        """Whatever it shows: its token says who it is."""
