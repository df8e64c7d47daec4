"""The accepting half of gRPC as a carrier: what the node's one gRPC server calls for streams of frames.

With TLS a node only learns here by which other way it may bring frames, as gRPC for Python shows nobody's
certificate unless every client has one.  Nor does gRPC tell a stream that is silent from one on which a frame
has come by half, for which it keeps room: so a connection may have a few only.  Rules F3 and F7:
docs/protocol/requests.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import grpc

from ringmill.cluster.adapters.network.frame_stream import FrameStream
from ringmill.cluster.adapters.network.frame_transport import FrameTransport, Welcome
from ringmill.cluster.adapters.network.grpc_streams import AcceptedStream
from ringmill.cluster.adapters.network.handshake import Introduction
from ringmill.cluster.adapters.network.tls.grpc_callers import check_caller
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.errors import Overloaded, RingmillError, Unavailable
from ringmill.cluster.wire.error_status import end_with
from ringmill.cluster.wire.stubs.peer_pb2_grpc import PeerServicer

__all__ = ["GrpcAcceptor"]


MOST_OF_A_CONNECTION: Final = 16
"""Streams of frames.  A client and a node have one on each connection."""


class GrpcAcceptor:
    """Hands accepted streams to the transport: `servicer` those of peers, `session` those of clients."""

    def __init__(self, transport: FrameTransport, *, tls: TlsFiles | None = None) -> None:
        self._transport = transport
        self._tls = tls
        self._streams: Counter[str] = Counter()  # by connection

    def servicer(self) -> PeerServicer:
        """The answering half for peers, to be added to the node's gRPC server."""
        return _PeerServicer(self)

    async def session(self, _requests: object, context: grpc.aio.ServicerContext) -> None:
        """The behaviour of Kv.Session."""
        introduction = _introduction(context)
        await self._accept(
            context, lambda: self._transport.admit_client(introduction), self._transport.answer
        )

    async def link(self, _requests: object, context: grpc.aio.ServicerContext) -> None:
        """The behaviour of Peer.Link."""
        introduction = _introduction(context)
        answer = self._transport.answer if self._tls is None else self._transport.answer_nothing
        await self._accept(context, lambda: self._transport.admit_peer(introduction), answer)

    async def _accept(
        self,
        context: grpc.aio.ServicerContext,
        admit: Callable[[], Welcome],
        answer: Callable[[FrameStream, Welcome], Awaitable[None]],
    ) -> None:
        try:
            with self._counted(context.peer()):
                if self._tls is not None:
                    check_caller(self._tls, context)
                welcome = admit()
                await context.send_initial_metadata(tuple(welcome.introduction.texts().items()))
                await self._answer(context, answer, welcome)
        except RingmillError as error:
            end_with(context, error)

    async def _answer(
        self,
        context: grpc.aio.ServicerContext,
        answer: Callable[[FrameStream, Welcome], Awaitable[None]],
        welcome: Welcome,
    ) -> None:
        """Raises what the dialler is to be told."""
        try:
            await answer(AcceptedStream(context), welcome)
        except Unavailable:
            return  # the dialler is gone, or this node is going; what was asked for goes on

    @contextmanager
    def _counted(self, connection: str) -> Iterator[None]:
        """Raises Overloaded for one stream too many."""
        if self._streams[connection] >= MOST_OF_A_CONNECTION:
            raise Overloaded(
                f"there are {MOST_OF_A_CONNECTION} streams of frames on this connection already",
                hint="open another connection",
            )
        self._streams[connection] += 1
        try:
            yield
        finally:
            self._streams[connection] -= 1
            if not self._streams[connection]:
                del self._streams[connection]


def _introduction(context: grpc.aio.ServicerContext) -> Introduction:
    """What the dialler says of itself."""
    return Introduction.of({key: str(value) for key, value in context.invocation_metadata() or ()})


class _PeerServicer(PeerServicer):
    def __init__(self, acceptor: GrpcAcceptor) -> None:
        self._acceptor = acceptor

    async def Link(self, request_iterator: object, context: grpc.aio.ServicerContext) -> None:  # type: ignore[override]  # noqa: N802
        await self._acceptor.link(request_iterator, context)
