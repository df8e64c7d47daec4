"""The ways by which a message comes to a node, each a task that sends until its share is sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from chaos.malformed.plain_bodies import PlainBodies, plain_methods
from chaos.malformed.samples import Bodies
from ringmill.client.dialling.node_links import open_link
from ringmill.client.routing.links import Method, SendingLink
from ringmill.cluster.adapters.network.frame_transport import CLIENT_PREFIX, FrameTransport
from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.grpc_streams import LINK
from ringmill.cluster.adapters.network.sockets.offered_carrier import carrier_named
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import ClusterId, NodeId
from ringmill.cluster.ports import Priority
from ringmill.cluster.traces.spans import Span, spanned
from ringmill.cluster.traces.trace_context import TRACE_BYTES, TRACEPARENT
from ringmill.cluster.wire.frames import encode_operations
from ringmill.cluster.wire.offers import CarrierName

__all__ = [
    "Tally", "Target", "as_peer", "as_stranger", "by_calls", "by_sessions", "by_sockets", "by_token_calls",
]  # fmt: skip

AT_ONCE: Final = 64  # of one way
PATIENCE_S: Final = 1.0
_BEGINNINGS: Final = (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"ringmill")


@dataclass(frozen=True, slots=True)
class Target:
    """A node, and what one has to know to be its peer."""

    name: str
    address: str
    cluster: ClusterId
    token: str
    carrier: CarrierName


@dataclass(slots=True)
class Tally:
    """What was sent by one way, and how it was answered: code -> number."""

    share: int
    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)

    async def each(self, send: Callable[[], Awaitable[object]]) -> None:
        """Send the whole share, some at a time."""
        await asyncio.gather(*(self._some(send) for _ in range(AT_ONCE)))

    async def _some(self, send: Callable[[], Awaitable[object]]) -> None:
        while self.sent < self.share:
            self.sent += 1
            try:
                await send()
            except RingmillError as error:
                self.answers[error.code] += 1
            except grpc.aio.AioRpcError as error:
                self.answers[error.code().name] += 1
            except (TimeoutError, OSError, EOFError) as error:
                self.answers[type(error).__name__] += 1
            else:
                self.answers["answered"] += 1


async def as_peer(target: Target, bodies: Bodies, tally: Tally) -> None:
    """Who knows the secret asks all methods, those between nodes too, as a node that is no member."""
    async with _transport("n9", target, target.token) as transport:

        async def send() -> None:
            method, body = bodies.one()
            await transport.call(
                NodeId(target.name), method, body, timeout_s=PATIENCE_S, priority=Priority.WRITE
            )

        await tally.each(send)


async def as_stranger(target: Target, bodies: Bodies, tally: Tally) -> None:
    """Who does not know the secret says that he is a member; every try is a link of its own."""

    async def send() -> None:
        method, body = bodies.one()
        async with _transport("n2", target, "") as transport:
            await transport.call(
                NodeId(target.name), method, body, timeout_s=PATIENCE_S, priority=Priority.WRITE
            )

    await tally.each(send)


async def by_sessions(target: Target, bodies: Bodies, tally: Tally) -> None:
    """Frames of a client with well-formed and other bodies, of methods for clients and others."""
    link = cast(
        "SendingLink", open_link(target.address, session=True, transport=target.carrier, token=target.token)
    )
    names = [name for name in bodies.methods if name.startswith(CLIENT_PREFIX)]
    draws = Random(tally.share)

    async def send() -> None:
        name = draws.choice(names) if draws.random() < 0.9 else bodies.one()[0]
        with spanned(Span(draws.randbytes(TRACE_BYTES))):
            method = Method("", name, cast("type[Message]", _Raw))
            await link.call(method, _raw(bodies.body_of(name)), PATIENCE_S)

    try:
        await tally.each(send)
    finally:
        await link.close()


async def by_calls(target: Target, bodies: Bodies, tally: Tally) -> None:
    """Plain calls of all services, by who has no token."""
    draws, plain = Random(tally.share), PlainBodies(tally.share)
    async with grpc.aio.insecure_channel(target.address) as channel:
        calls = {path: channel.unary_unary(path) for path in plain_methods()}

        async def send() -> None:
            path, body = plain.one()
            body = draws.choice((bodies.one()[1], body, body))
            told = (TRACEPARENT, draws.choice(("", "00-", f"00-{draws.randbytes(24).hex()}", "z" * 5000)))
            await calls[path](body, timeout=PATIENCE_S, metadata=(told,))

        await tally.each(send)


async def by_token_calls(target: Target, bodies: Bodies, tally: Tally) -> None:
    """Plain calls of all services, by who has the cluster's token, so that each is an admin's."""
    plain = PlainBodies(tally.share)
    async with ClientLink(target.address, token=target.token) as link:

        async def send() -> None:
            path, body = plain.one()
            await link.unary(path, _raw(body), cast("type[Message]", _Raw), PATIENCE_S)

        await tally.each(send)


async def by_sockets(target: Target, bodies: Bodies, tally: Tally) -> None:
    """Bytes on a connection of their own: rubbish, half a preface, frames without an introduction."""
    host, _, port = target.address.rpartition(":")
    draws = Random(tally.share)

    async def send() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            method, body = bodies.one()
            traces = draws.choice(((), [(1, draws.randbytes(TRACE_BYTES))], [(2, b"short")]))
            frame = encode_operations([(1, method, 1_000_000, 0, body)], 0, traces)
            writer.write(draws.choice(_BEGINNINGS) + draws.choice((frame, body, draws.randbytes(64))))
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await reader.read(256)
        finally:
            writer.close()

    await tally.each(send)


def _transport(name: str, target: Target, secret: str) -> FrameTransport:
    clock = SystemClock()
    transport = FrameTransport(
        NodeId(name),
        carrier_named(target.carrier, LINK, clock=clock),
        clock=clock,
        entropy=OsEntropy(),
        cluster=target.cluster,
        secret=secret,
    )
    transport.set_peers({NodeId(target.name): target.address})
    return transport


class _Raw:
    """Bytes in the place of a message."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    @classmethod
    def FromString(cls, body: bytes) -> _Raw:  # noqa: N802 - as a message has it
        return cls(body)

    def SerializeToString(self) -> bytes:  # noqa: N802 - as a message has it
        return self._body


def _raw(body: bytes) -> Message:
    return cast("Message", _Raw(body))
