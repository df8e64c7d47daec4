"""A process that plays a node of one member, over gRPC and TCP: each value written stays as a sibling."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_acceptor import GrpcAcceptor
from ringmill.cluster.adapters.network.grpc_streams import LINK, GrpcCarrier
from ringmill.cluster.adapters.network.sockets.socket_listener import SocketListener
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import QuorumNotReached, RingmillError, Unavailable
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ports import Incoming
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.cluster.wire.offers import offer_text
from ringmill.cluster.wire.stubs import kv_pb2, membership_pb2, repair_pb2, topology_pb2
from ringmill.node.services.grpc_calls.over_grpc import grpc_handlers
from ringmill.node.services.server import NodeServer, Services
from ringmill.node.services.table import Call, Service, unary

__all__ = ["HELD", "SLOW", "OneNode", "one_node"]

SLOW = "slow"
"""A key that is answered after longer than any test waits."""
HELD = "held"
"""A key that is answered once the test says so."""


class OneNode:
    """A store of one member that keeps every value written under a key as a sibling of its own."""

    topology: Topology

    def __init__(self) -> None:
        self.values: dict[bytes, list[bytes]] = {}
        self.framed = 0
        self.is_repair_silent = False
        self.repair_refusals: list[RingmillError] = []  # of the next calls, asked for first to last
        self.waiting = 0  # calls about SLOW that have arrived
        self.may_answer = threading.Event()  # calls about HELD

    def put(self, request: kv_pb2.PutRequest) -> kv_pb2.WriteReceipt:
        self.topology.keyspace_named(request.keyspace or "default")
        if request.w == "3":
            raise QuorumNotReached.of("put", 3, ["n1"], {"n2": "UNAVAILABLE"}, outcome="unknown")
        if not request.no_context:
            self.values[request.key] = []
        self.values.setdefault(request.key, []).append(request.value)
        acks = [kv_pb2.ReplicaAck(node="n1", role="owner", durability="synced")]
        return kv_pb2.WriteReceipt(dot="n1#1:1", context=b"\x01", epoch=1, w=1, replicas=acks)

    def get(self, request: kv_pb2.GetRequest) -> kv_pb2.GetResponse:
        self.topology.keyspace_named(request.keyspace or "default")
        siblings = [
            kv_pb2.Sibling(value=value, dot=f"n1#1:{number}")
            for number, value in enumerate(self.values.get(request.key, []), 1)
        ]
        return kv_pb2.GetResponse(siblings=siblings, context=b"\x01", answered=["n1"], epoch=1)

    def tables(self) -> tuple[Service, ...]:
        kv = {
            "Put": unary(kv_pb2.PutRequest, self._unary_put),
            "Get": unary(kv_pb2.GetRequest, self._unary_get),
            "Locate": unary(kv_pb2.LocateRequest, self._locate),
        }
        topology = {"Get": unary(topology_pb2.GetTopologyRequest, self._topology)}
        status = {"Status": unary(membership_pb2.StatusRequest, self._status)}
        repair = {
            "Run": unary(repair_pb2.RepairRunRequest, self._repair_run),
            "Status": unary(repair_pb2.RepairStatusRequest, self._repair_status),
        }
        return (
            Service("ringmill.v1.Kv", kv),
            Service("ringmill.v1.Topology", topology),
            Service("ringmill.v1.Membership", status),
            Service("ringmill.v1.Repair", repair),
        )

    async def _unary_put(self, request: kv_pb2.PutRequest, _: Call) -> kv_pb2.WriteReceipt:
        await self._linger(request.key)
        return self.put(request)

    async def _unary_get(self, request: kv_pb2.GetRequest, _: Call) -> kv_pb2.GetResponse:
        await self._linger(request.key)
        return self.get(request)

    async def _locate(self, request: kv_pb2.LocateRequest, _: Call) -> kv_pb2.LocateResponse:
        owner = kv_pb2.OwnerCopy(node="n1", state="up", dots=["n1#1:1"], same=True, answered=True)
        return kv_pb2.LocateResponse(position=2**63, partition=8, epoch=1, owners=[owner])

    async def _topology(
        self, request: topology_pb2.GetTopologyRequest, _: Call
    ) -> topology_pb2.GetTopologyResponse:
        return topology_pb2.GetTopologyResponse(epoch=1, document=self.topology.encode())

    async def _status(self, request: membership_pb2.StatusRequest, _: Call) -> membership_pb2.StatusResponse:
        view = membership_pb2.MemberView(id="n1", state="up", membership="up", owns=16)
        return membership_pb2.StatusResponse(
            cluster="one", epoch=1, node="n1", pid=4711, members=[view], keys=3, ranges_ok=16, n=1
        )

    async def _repair_run(
        self, request: repair_pb2.RepairRunRequest, _: Call
    ) -> repair_pb2.RepairRunResponse:
        if self.repair_refusals:
            raise self.repair_refusals.pop(0)
        return repair_pb2.RepairRunResponse(partitions=16)

    async def _repair_status(
        self, request: repair_pb2.RepairStatusRequest, _: Call
    ) -> repair_pb2.RepairStatusResponse:
        if self.is_repair_silent:
            raise Unavailable("busy")
        return repair_pb2.RepairStatusResponse(node="n1")

    async def framed_put(self, call: Incoming) -> bytes:
        self.framed += 1
        request = kv_pb2.PutRequest.FromString(call.body)
        await self._linger(request.key)
        return self.put(request).SerializeToString()

    async def framed_get(self, call: Incoming) -> bytes:
        self.framed += 1
        request = kv_pb2.GetRequest.FromString(call.body)
        await self._linger(request.key)
        return self.get(request).SerializeToString()

    async def _linger(self, key: bytes) -> None:
        if key == SLOW.encode():
            self.waiting += 1
            await asyncio.sleep(60)
        if key == HELD.encode():
            while not self.may_answer.is_set():  # noqa: ASYNC110 - it is set in another thread
                await asyncio.sleep(0.01)


@contextmanager
def one_node() -> Iterator[tuple[OneNode, str]]:
    """The node in a thread with its own loop, so that blocking callers can talk to it."""
    one, started, stop = OneNode(), threading.Event(), asyncio.Event()
    address, loop = "", asyncio.new_event_loop()

    async def serve() -> None:
        nonlocal address
        transport = FrameTransport(
            NodeId("n1"),
            GrpcCarrier(LINK, clock=SystemClock()),
            clock=SystemClock(),
            entropy=OsEntropy(),
        )
        transport.serve("kv.put", one.framed_put)
        transport.serve("kv.get", one.framed_get)
        methods = grpc_handlers(one.tables(), SystemClock())
        services = Services(GrpcAcceptor(transport), methods)
        listener = SocketListener(NodeId("n1"), transport, clock=SystemClock())
        async with (
            transport,
            listener.tcp("127.0.0.1:0") as port,
            NodeServer("127.0.0.1:0", services) as server,
        ):
            transport.offer(peers="", clients=offer_text(port))
            address = server.address
            member = Member(NodeId("n1"), DiskId("0" * 32), address)
            one.topology = first_topology("one", [member], partitions=16, n=1, r=1, w=1)
            transport.join(one.topology.cluster)
            started.set()
            await stop.wait()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(loop.run_until_complete, serve())
        assert started.wait(20)
        try:
            yield one, address
        finally:
            loop.call_soon_threadsafe(stop.set)
            done.result(20)
    loop.close()
