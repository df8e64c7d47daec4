"""Transports of real nodes on loopback, over each carrier; and a stream of memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from tempfile import TemporaryDirectory
from types import MappingProxyType

import pytest

from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_acceptor import GrpcAcceptor
from ringmill.cluster.adapters.network.grpc_streams import LINK
from ringmill.cluster.adapters.network.sockets.offered_carrier import carrier_named
from ringmill.cluster.adapters.network.sockets.socket_listener import SocketListener
from ringmill.cluster.adapters.network.tls.grpc_callers import check_caller
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import ClusterId, NodeId
from ringmill.cluster.ports import Handler
from ringmill.cluster.wire.offers import CARRIERS, CarrierName, Place, offer_text
from ringmill.cluster.wire.sending_time import PeerClock
from ringmill.node.services.grpc_calls.over_grpc import grpc_handlers
from ringmill.node.services.server import NodeServer, Services
from ringmill.node.services.table import Service
from tests.ports import free_port

SECRET = "open sesame"  # that all nodes of a test know


@dataclass
class Nodes:
    """Starts transports and their servers, and tells each where the others listen."""

    stack: AsyncExitStack
    carrier: CarrierName = "grpc"
    addresses: dict[NodeId, str] = field(default_factory=dict)
    transports: dict[NodeId, FrameTransport] = field(default_factory=dict)
    places: dict[NodeId, Place] = field(default_factory=dict)  # where frames are taken
    secret: str = SECRET
    tables: tuple[Service, ...] = ()  # what the nodes answer to plain calls
    _accepting: dict[NodeId, AsyncExitStack] = field(default_factory=dict)

    async def start(
        self,
        name: str,
        *,
        cluster: str | None = "c1",
        secret: str | None = None,
        at: str = "",
        known_as: str = "",
        handlers: Mapping[str, Handler] = MappingProxyType({}),
        tls: TlsFiles | None = None,
    ) -> FrameTransport:
        node = NodeId(name)
        clock = SystemClock()
        address = at or f"127.0.0.1:{free_port()}"
        transport = FrameTransport(
            node,
            carrier_named(self.carrier, LINK, clock=clock, tls=tls),
            clock=clock,
            entropy=OsEntropy(),
            cluster=None if cluster is None else ClusterId(cluster),
            secret=self.secret if secret is None else secret,
            addresses=(known_as or address, address),
        )
        transport.clients_prove = tls is not None
        for method, handler in handlers.items():
            transport.serve(method, handler)
        await self.stack.enter_async_context(transport)
        accepting = self._accepting[node] = AsyncExitStack()
        self.stack.push_async_callback(accepting.aclose)
        self.places[node] = int(address.rpartition(":")[2])
        if self.carrier != "grpc":
            place = self.places[node] = await accepting.enter_async_context(
                self._listener(node, transport, tls)
            )
            transport.offer(peers=offer_text(place), clients=offer_text(place))
        admit = None if tls is None else partial(check_caller, tls)
        methods = grpc_handlers(self.tables, clock, transport.prove, admit)
        services = Services(GrpcAcceptor(transport, tls=tls), methods)
        server = NodeServer(address, services, credentials=tls and tls.server_credentials())
        await accepting.enter_async_context(server)
        self.transports[node] = transport
        self.addresses[node] = server.address
        for other in self.transports.values():
            other.set_peers(self.addresses)
        return transport

    def _listener(
        self, node: NodeId, transport: FrameTransport, tls: TlsFiles | None
    ) -> AbstractAsyncContextManager[Place]:
        listener = SocketListener(node, transport, clock=SystemClock(), tls=tls)
        if self.carrier == "tcp":
            return listener.tcp("127.0.0.1:0")
        return listener.unix(f"{self.stack.enter_context(TemporaryDirectory())}/{node}")

    async def crash(self, name: str) -> None:
        """Close all that a node accepts, as its end would."""
        await self._accepting[NodeId(name)].aclose()


@pytest.fixture(params=CARRIERS)
def carrier(request: pytest.FixtureRequest) -> CarrierName:
    name: CarrierName = request.param
    return name


@pytest.fixture
async def nodes(carrier: CarrierName) -> AsyncIterator[Nodes]:
    """Nodes that talk over one carrier; each test is run over all."""
    async with AsyncExitStack() as stack:
        yield Nodes(stack, carrier)


class MemoryStream:
    """One end of a stream that carries frames in memory, and can be stopped, closed and broken."""

    peer_clock: PeerClock | None = None
    takes_traces = False

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
