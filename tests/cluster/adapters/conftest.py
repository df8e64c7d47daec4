"""Transports of real nodes, each behind a real gRPC server on loopback; and a stream of memory."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import MappingProxyType

import pytest

from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_acceptor import GrpcAcceptor
from ringmill.cluster.adapters.network.grpc_streams import LINK, GrpcCarrier
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import ClusterId, NodeId
from ringmill.cluster.ports import Handler
from ringmill.cluster.wire.sending_time import PeerClock
from ringmill.node.services.server import NodeServer, Services


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel hands out to dialling sockets."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


@dataclass
class Nodes:
    """Starts transports and their servers, and tells each where the others listen."""

    stack: AsyncExitStack
    addresses: dict[NodeId, str] = field(default_factory=dict)
    transports: dict[NodeId, FrameTransport] = field(default_factory=dict)
    servers: dict[NodeId, NodeServer] = field(default_factory=dict)

    async def start(
        self,
        name: str,
        *,
        cluster: str | None = "c1",
        at: str = "",
        handlers: Mapping[str, Handler] = MappingProxyType({}),
    ) -> FrameTransport:
        node = NodeId(name)
        transport = FrameTransport(
            node,
            GrpcCarrier(LINK, clock=SystemClock()),
            clock=SystemClock(),
            entropy=OsEntropy(),
            cluster=None if cluster is None else ClusterId(cluster),
        )
        for method, handler in handlers.items():
            transport.serve(method, handler)
        await self.stack.enter_async_context(transport)
        server = NodeServer(
            at or f"127.0.0.1:{free_port()}",
            Services(GrpcAcceptor(transport)),
        )
        await self.stack.enter_async_context(server)
        self.transports[node] = transport
        self.servers[node] = server
        self.addresses[node] = server.address
        for other in self.transports.values():
            other.set_peers(self.addresses)
        return transport


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as stack:
        yield Nodes(stack)


class MemoryStream:
    """One end of a stream that carries frames in memory, and can be stopped, closed and broken."""

    peer_clock: PeerClock | None = None

    def __init__(self, incoming: asyncio.Queue[bytes | None], outgoing: asyncio.Queue[bytes | None]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self.moves = asyncio.Event()
        self.moves.set()
        self.broken: RingmillError | None = None
        self.frames_written = 0

    @classmethod
    def pair(cls) -> tuple[MemoryStream, MemoryStream]:
        there: asyncio.Queue[bytes | None] = asyncio.Queue()
        back: asyncio.Queue[bytes | None] = asyncio.Queue()
        return cls(back, there), cls(there, back)

    async def read(self) -> bytes | None:
        frame = await self._incoming.get()
        if frame is None and self.broken:
            raise self.broken
        return frame

    async def write(self, frame: bytes) -> None:
        await self.moves.wait()
        self.frames_written += 1
        self._outgoing.put_nowait(frame)

    async def close(self) -> None:
        self._outgoing.put_nowait(None)

    def snap(self, error: RingmillError) -> None:
        """Break this end: whoever reads from it gets `error`."""
        self.broken = error
        self._incoming.put_nowait(None)


@pytest.fixture
def memory_streams() -> tuple[MemoryStream, MemoryStream]:
    return MemoryStream.pair()
