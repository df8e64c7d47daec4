"""The links of a client to one node, over gRPC: unary calls, frames of a session, and the Jobs service.

They carry requests; who is asked, and what may be sent again, is decided in client/routing/.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from google.protobuf.message import Message

from ringmill.client.routing.links import Abandon, Link, Method
from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.handshake import Check, any_node
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ports import Ended
from ringmill.cluster.wire.offers import CarrierName

__all__ = ["JobServiceLink", "open_link"]

Answer = TypeVar("Answer", bound=Message)


def open_link(
    address: str,
    *,
    session: bool = False,
    transport: CarrierName = "grpc",
    check: Check = any_node,
    token: str | Callable[[], str] = "",
    tls: TlsFiles | None = None,
    loaded: Callable[[int], None] | None = None,
) -> Link:
    """A link to one node, for requests that need no routing.  The caller closes it.

    `check` looks at what the node says of itself before anything is asked on a session.  The node has to
    prove that it knows the `token`; "" asks for no proof.  One that may change is given as what tells the
    present one.  With `tls` it has to show a certificate.  `loaded` hears how much the node says on a session
    that it has under way, 0 to 255.
    """
    link = ClientLink(address, transport=transport, check=check, token=token, tls=tls)
    if loaded is not None:
        link.loaded = loaded
    return SessionLink(link) if session else NodeLink(link)


class NodeLink:
    """One node by unary calls over gRPC."""

    def __init__(self, link: ClientLink) -> None:
        self._link = link

    async def call(self, method: Method[Answer], request: Message, timeout_s: float) -> Answer:
        return await self._link.unary(method.path, request, method.answer, timeout_s)

    async def close(self) -> None:
        await self._link.close()


class SessionLink(NodeLink):
    """One node: hot methods as frames of its session stream, all others as unary calls."""

    async def call(self, method: Method[Answer], request: Message, timeout_s: float) -> Answer:
        if not method.frame_name:
            return await super().call(method, request, timeout_s)
        body = await self._link.session_call(method.frame_name, request.SerializeToString(), timeout_s)
        return method.answer.FromString(body)

    def on_leaving(self, listener: Callable[[], None]) -> None:
        self._link.leaving = listener

    def send(self, method: Method[Message], request: Message, timeout_s: float, ended: Ended) -> Abandon:
        return self._link.session_send(method.frame_name, request.SerializeToString(), timeout_s, ended)


class JobServiceLink:
    """One node's Jobs service, on a connection of its own, so that uploads and logs never delay reads."""

    def __init__(
        self, address: str, token: Callable[[], str], opened: set[JobServiceLink], tls: TlsFiles | None
    ) -> None:
        self._address = address
        self._link = ClientLink(address, token=token, tells_token=True, tls=tls)
        self._opened = opened

    async def __aenter__(self) -> JobServiceLink:
        self._opened.add(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._opened.discard(self)
        await self.close()

    async def close(self) -> None:
        await self._link.close()

    async def unary(self, path: str, request: Message, answer: type[Answer], timeout_s: float) -> Answer:
        with self._named():
            return await self._link.unary(path, request, answer, timeout_s)

    async def upload(
        self, path: str, requests: AsyncIterable[Message], answer: type[Answer], timeout_s: float
    ) -> Answer:
        with self._named():
            return await self._link.upload(path, requests, answer, timeout_s)

    def stream(
        self, path: str, request: Message, answer: type[Answer], timeout_s: float | None
    ) -> AsyncIterator[Answer]:
        return self._link.stream(path, request, answer, timeout_s)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Add the node's address to an error that the node sent."""
        try:
            yield
        except RingmillError as error:
            error.detail.setdefault("address", self._address)
            raise
