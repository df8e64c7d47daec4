"""Two real nodes' transports in one process, each behind a real gRPC server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from cluster.adapters.grpc_transport import GrpcTransport
from cluster.adapters.os_entropy import OsEntropy
from cluster.adapters.system_clock import SystemClock
from cluster.ids import ClusterId, NodeId
from node.services.server import NodeServer, Services


@dataclass
class Nodes:
    """Starts transports and their servers, and tells each where the others listen."""

    stack: AsyncExitStack
    addresses: dict[NodeId, str] = field(default_factory=dict)
    transports: dict[NodeId, GrpcTransport] = field(default_factory=dict)
    servers: dict[NodeId, NodeServer] = field(default_factory=dict)

    async def start(self, name: str, *, cluster: str | None = "c1", at: str = "127.0.0.1:0") -> GrpcTransport:
        node = NodeId(name)
        transport = GrpcTransport(
            node,
            clock=SystemClock(),
            entropy=OsEntropy(),
            cluster_id=lambda: None if cluster is None else ClusterId(cluster),
        )
        await self.stack.enter_async_context(transport)
        server = NodeServer(at, Services(transport.servicer(), transport.session))
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
