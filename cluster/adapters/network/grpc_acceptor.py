"""The accepting half of gRPC as a carrier: what the node's one gRPC server calls for streams of frames."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from ringmill.cluster.adapters.network.frame_transport import FrameTransport, Welcome
from ringmill.cluster.adapters.network.grpc_streams import AcceptedStream, refuse
from ringmill.cluster.adapters.network.handshake import Introduction
from ringmill.cluster.errors import PermissionDenied, ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.wire.stubs.peer_pb2_grpc import PeerServicer

__all__ = ["GrpcAcceptor"]


class GrpcAcceptor:
    """Hands accepted streams to the transport: `servicer` those of peers, `session` those of clients."""

    def __init__(self, transport: FrameTransport) -> None:
        self._transport = transport

    def servicer(self) -> PeerServicer:
        """The answering half for peers, to be added to the node's gRPC server."""
        return _PeerServicer(self)

    async def session(self, _requests: object, context: grpc.aio.ServicerContext) -> None:
        """The behaviour of Kv.Session."""
        told = _introduction(context)
        await self._accept(context, lambda: self._transport.admit_client(told))

    async def link(self, _requests: object, context: grpc.aio.ServicerContext) -> None:
        """The behaviour of Peer.Link."""
        told = _introduction(context)
        await self._accept(context, lambda: self._transport.admit_peer(told))

    async def _accept(self, context: grpc.aio.ServicerContext, admit: Callable[[], Welcome]) -> None:
        try:
            welcome = admit()
        except RingmillError as error:
            await refuse(context, error)
        await context.send_initial_metadata(tuple(welcome.introduction.texts().items()))
        try:
            await self._transport.answer(AcceptedStream(context), welcome)
        except (PermissionDenied, ProtocolMismatch) as error:
            await refuse(context, error)
        except Unavailable:
            return  # the dialler is gone, or this node is going; what was asked for goes on


def _introduction(context: grpc.aio.ServicerContext) -> Introduction:
    """What the dialler says of itself."""
    return Introduction.of({key: str(value) for key, value in context.invocation_metadata() or ()})


class _PeerServicer(PeerServicer):
    def __init__(self, acceptor: GrpcAcceptor) -> None:
        self._acceptor = acceptor

    async def Link(self, request_iterator: object, context: grpc.aio.ServicerContext) -> None:  # type: ignore[override]  # noqa: N802
        await self._acceptor.link(request_iterator, context)
