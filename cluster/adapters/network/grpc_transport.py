"""The Transport door over gRPC: three long-lived streams to each peer, dialled by the side that asks.

Control has a connection of its own, and so has bulk, so that a probe never waits behind data and a long
frame never stands before a short one.  Streams are dialled when first used.  The answering half is given to
the node's one gRPC server: `servicer` for peers, `session` for clients.  Rule F1: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Final, Self

import grpc

from ringmill.cluster.adapters.network.answering import Answering, Dialler
from ringmill.cluster.adapters.network.frame_link import FrameLink
from ringmill.cluster.adapters.network.grpc_streams import (
    CLASS_KEY,
    CLUSTER_KEY,
    NODE_KEY,
    AcceptedStream,
    DialledStream,
    dial,
    refuse,
)
from ringmill.cluster.errors import ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.ids import ClusterId, NodeId
from ringmill.cluster.ports import BatchHandler, Clock, Ended, Entropy, Handler, Priority
from ringmill.cluster.wire.frames import MAX_FRAME_BYTES
from ringmill.cluster.wire.sending_time import CLOCK_KEY, microseconds
from ringmill.cluster.wire.stubs.peer_pb2_grpc import PeerServicer, PeerStub

__all__ = ["CLIENT_PREFIX", "GrpcTransport"]

CLIENT_PREFIX: Final = "kv."  # methods that a client may call on its session

DIAL_TIMEOUT_S: Final = 1.5  # well below a request's deadline, so that there is time to turn to another peer

_CLASSES: Final = ("control", "data", "bulk")
_CLASS_OF: Final = {
    Priority.CONTROL: 0,
    Priority.WRITE: 1,
    Priority.READ: 1,
    Priority.REPAIR: 2,
    Priority.BULK: 2,
}


class GrpcTransport:
    """Calls between nodes, by id.  `async with` owns its connections and tasks.

    `cluster` is the one that this node belongs to, None until it has joined one; a peer of another one is
    refused on either side.
    """

    def __init__(
        self,
        node_id: NodeId,
        *,
        clock: Clock,
        entropy: Entropy,
        cluster: ClusterId | None = None,
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        self._node_id = node_id
        self._clock = clock
        self._entropy = entropy
        self._cluster = cluster
        self._max_frame_bytes = max_frame_bytes
        self._handlers: dict[str, Handler] = {}
        self._batch_handlers: dict[str, BatchHandler] = {}
        self._addresses: dict[NodeId, str] = {}
        self._links: dict[NodeId, tuple[FrameLink, ...]] = {}

    async def __aenter__(self) -> Self:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self._answering = Answering(
            self._handlers,
            batch_handlers=self._batch_handlers,
            name=self._node_id,
            clock=self._clock,
            group=self._group,
            max_frame_bytes=self._max_frame_bytes,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._answering.close()  # first, as a handler still at work would open a link again
        for links in self._links.values():
            for link in links:
                await link.close()
        if isinstance(error, asyncio.CancelledError):
            await self._group.__aexit__(kind, error, trace)  # it knows whether it was its own doing
        else:
            await self._group.__aexit__(None, None, None)

    def join(self, cluster: ClusterId) -> None:
        """The node belongs to this cluster from now on."""
        self._cluster = cluster

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        """Learn where nodes listen ("host:port"); a node not named any more is disconnected."""
        for node in list(self._links):
            if addresses.get(node) != self._addresses.get(node):
                for link in self._links.pop(node):
                    self._group.create_task(link.close())
        self._addresses = dict(addresses)

    def serve(self, method: str, handler: Handler) -> None:
        """Answer calls of `method`; an unknown method is refused as ProtocolMismatch."""
        assert method not in self._handlers, f"{method} has a handler already"
        self._handlers[method] = handler

    def serve_batch(self, method: str, handler: BatchHandler) -> None:
        """The same, all calls of a frame at a time."""
        assert method not in self._batch_handlers, f"{method} has a handler already"
        self._batch_handlers[method] = handler

    def send(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority, ended: Ended
    ) -> None:
        """As `call`, without a task that waits: `ended` is told what it returns or raises."""
        try:
            link = (self._links.get(to) or self._open(to))[_CLASS_OF[priority]]
        except RingmillError as error:
            ended(error)
            return
        link.send(method, body, timeout_s, priority, ended)

    async def call(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority
    ) -> bytes:
        """Ask a node and wait for its answer.

        Raises what the handler raised; DeadlineExceeded after `timeout_s`; Unavailable when the node cannot
        be reached ("failed": certainly nothing was sent); Overloaded when too much waits to be sent to it.
        """
        links = self._links.get(to) or self._open(to)
        return await links[_CLASS_OF[priority]].call(method, body, timeout_s, priority)

    def servicer(self) -> PeerServicer:
        """The answering half for peers, to be added to the node's gRPC server."""
        return _PeerServicer(self)

    async def session(self, _requests: object, context: grpc.aio.ServicerContext) -> None:
        """The answering half for clients: the behaviour of Kv.Session, open to methods "kv.*" only."""
        await self._accept(context, Dialler(NodeId(""), CLIENT_PREFIX, Priority.WRITE))

    async def link(self, _requests: object, context: grpc.aio.ServicerContext) -> None:
        """The answering half for peers: the behaviour of Peer.Link."""
        told = {key: str(value) for key, value in context.invocation_metadata() or ()}
        try:
            self._check_peer(told)
        except RingmillError as error:
            await refuse(context, error)
        dialler = NodeId(told[NODE_KEY])
        self._is_alive(dialler)
        await self._accept(context, Dialler(dialler))

    async def drain(self, timeout_s: float) -> None:
        """Refuse new calls, wait up to `timeout_s` until those under way are answered, end all streams.

        The first half of stopping without an error for anyone; the second is to stop the gRPC server.
        """
        await self._answering.drain(timeout_s)

    async def _accept(self, context: grpc.aio.ServicerContext, dialler: Dialler) -> None:
        refusal = self._answering.refusal()
        if refusal is not None:
            await refuse(context, refusal)
        clock = (CLOCK_KEY, str(microseconds(self._clock.boottime())))
        await context.send_initial_metadata((*self._identity(), clock))
        try:
            await self._answering.serve(AcceptedStream(context), dialler)
        except ProtocolMismatch as error:
            await refuse(context, error)
        except Unavailable:
            return  # the dialler is gone, or this node is going; what was asked for goes on

    def _check_peer(self, told: Mapping[str, str]) -> None:
        if not told.get(NODE_KEY):
            raise ProtocolMismatch(f"{self._node_id}: a link came without metadata {NODE_KEY}")
        if told[NODE_KEY] == self._node_id:
            raise ProtocolMismatch(f"{self._node_id} was dialled by a node of the same name")
        self._check_cluster(told)

    def _check_cluster(self, told: Mapping[str, str]) -> None:
        theirs, ours = told.get(CLUSTER_KEY, ""), self._cluster or ""
        if theirs and ours and theirs != ours:
            raise ProtocolMismatch(
                f"{told.get(NODE_KEY)} is of cluster {theirs}, {self._node_id} of cluster {ours}",
                hint="one of the two addresses belongs to another cluster; see `ringmill cluster status`",
            )

    def _identity(self) -> tuple[tuple[str, str], ...]:
        return ((NODE_KEY, self._node_id), (CLUSTER_KEY, self._cluster or ""))

    def _open(self, to: NodeId) -> tuple[FrameLink, ...]:
        """The links to a peer, not dialled yet."""
        address = self._addresses.get(to)
        if address is None:
            raise Unavailable(f"{self._node_id} knows no address of {to}")
        links = tuple(
            FrameLink(
                f"{to} ({address})",
                partial(self._dial, to, address, traffic_class),
                clock=self._clock,
                entropy=self._entropy,
                start_task=self._group.create_task,
                max_frame_bytes=self._max_frame_bytes,
            )
            for traffic_class in _CLASSES
        )
        self._links[to] = links
        return links

    async def _dial(self, to: NodeId, address: str, traffic_class: str) -> DialledStream:
        def check(told: dict[str, str]) -> None:
            if told.get(NODE_KEY) != to:
                raise Unavailable(f"{address} is {told.get(NODE_KEY) or 'no node'}, not {to}")
            self._check_cluster(told)

        stream = await dial(
            address,
            lambda channel, metadata: PeerStub(channel).Link(metadata=metadata),
            (*self._identity(), (CLASS_KEY, traffic_class)),
            check,
            clock=self._clock,
            max_frame_bytes=self._max_frame_bytes,
            timeout_s=DIAL_TIMEOUT_S,
        )
        self._is_alive(to)
        return stream

    def _is_alive(self, node: NodeId) -> None:
        """A node that was just met is worth dialling now, whatever its links have decided before."""
        for link in self._links.get(node, ()):
            link.end_backoff()


class _PeerServicer(PeerServicer):
    def __init__(self, transport: GrpcTransport) -> None:
        self._transport = transport

    async def Link(self, request_iterator: object, context: grpc.aio.ServicerContext) -> None:  # type: ignore[override]  # noqa: N802
        await self._transport.link(request_iterator, context)
