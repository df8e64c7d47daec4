"""The client and the command line over real gRPC, against one process that plays a node of one member."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

import client.blocking
from client.cli.exit_codes import ExitCode
from client.cli.main import main
from client.connection import AsyncClient, connect
from cluster.adapters.grpc_transport import GrpcTransport
from cluster.adapters.os_entropy import OsEntropy
from cluster.adapters.system_clock import SystemClock
from cluster.errors import InvalidArgument, NotFound, QuorumNotReached
from cluster.ids import ClusterId, DiskId, NodeId
from cluster.ports import Incoming
from cluster.ring.topology import Member, Topology, first_topology
from cluster.wire import kv_pb2, membership_pb2, topology_pb2
from cluster.wire.kv_pb2_grpc import KvServicer
from cluster.wire.membership_pb2_grpc import MembershipServicer
from cluster.wire.topology_pb2_grpc import TopologyServicer
from node.services.errors import raises_status
from node.services.server import NodeServer, Services


class OneNode(KvServicer, MembershipServicer):
    """A store of one member that keeps every value written under a key as a sibling of its own."""

    topology: Topology

    def __init__(self) -> None:
        self.values: dict[bytes, list[bytes]] = {}
        self.framed = 0

    def put(self, request: kv_pb2.PutRequest) -> kv_pb2.WriteReceipt:
        if request.w == "3":
            raise QuorumNotReached.of("put", 3, ["n1"], {"n2": "UNAVAILABLE"}, outcome="unknown")
        if not request.no_context:
            self.values[request.key] = []
        self.values.setdefault(request.key, []).append(request.value)
        acks = [kv_pb2.ReplicaAck(node="n1", role="owner", durability="synced")]
        return kv_pb2.WriteReceipt(dot="n1#1:1", context=b"\x01", epoch=1, w=1, replicas=acks)

    def get(self, request: kv_pb2.GetRequest) -> kv_pb2.GetResponse:
        siblings = [
            kv_pb2.Sibling(value=value, dot=f"n1#1:{number}")
            for number, value in enumerate(self.values.get(request.key, []), 1)
        ]
        return kv_pb2.GetResponse(siblings=siblings, context=b"\x01", answered=["n1"], epoch=1)

    @raises_status
    async def Put(self, request: kv_pb2.PutRequest, _: grpc.aio.ServicerContext) -> kv_pb2.WriteReceipt:
        return self.put(request)

    @raises_status
    async def Get(self, request: kv_pb2.GetRequest, _: grpc.aio.ServicerContext) -> kv_pb2.GetResponse:
        return self.get(request)

    @raises_status
    async def Locate(
        self, request: kv_pb2.LocateRequest, _: grpc.aio.ServicerContext
    ) -> kv_pb2.LocateResponse:
        owner = kv_pb2.OwnerCopy(node="n1", state="up", dots=["n1#1:1"], same=True, answered=True)
        return kv_pb2.LocateResponse(position=2**63, partition=8, epoch=1, owners=[owner])

    async def Status(
        self, request: membership_pb2.StatusRequest, context: grpc.aio.ServicerContext
    ) -> membership_pb2.StatusResponse:
        view = membership_pb2.MemberView(id="n1", state="up", membership="up", owns=16)
        return membership_pb2.StatusResponse(
            cluster="one", epoch=1, node="n1", pid=4711, members=[view], keys=3, ranges_ok=16, n=1
        )

    def framed_put(self, call: Incoming) -> bytes:
        self.framed += 1
        return self.put(kv_pb2.PutRequest.FromString(call.body)).SerializeToString()

    def framed_get(self, call: Incoming) -> bytes:
        self.framed += 1
        return self.get(kv_pb2.GetRequest.FromString(call.body)).SerializeToString()


class TopologyOf(TopologyServicer):
    """The Topology service; apart, as both it and Kv have a method named Get."""

    def __init__(self, node: OneNode) -> None:
        self._node = node

    async def Get(
        self, request: topology_pb2.GetTopologyRequest, context: grpc.aio.ServicerContext
    ) -> topology_pb2.GetTopologyResponse:
        return topology_pb2.GetTopologyResponse(epoch=1, document=self._node.topology.encode())


@pytest.fixture(scope="module")
def node() -> Iterator[tuple[OneNode, str]]:
    """The node in a thread with its own loop, so that blocking callers can talk to it."""
    one, started, stop = OneNode(), threading.Event(), asyncio.Event()  # type: ignore[abstract]
    address, loop = "", asyncio.new_event_loop()

    async def serve() -> None:
        nonlocal address
        transport = GrpcTransport(
            NodeId("n1"), clock=SystemClock(), entropy=OsEntropy(), cluster_id=lambda: ClusterId("c")
        )
        transport.serve("kv.put", one.framed_put)
        transport.serve("kv.get", one.framed_get)
        topology = TopologyOf(one)  # type: ignore[abstract]
        services = Services(transport.servicer(), transport.session, one, topology, one)
        async with transport, NodeServer("127.0.0.1:0", services) as server:
            address = server.address
            member = Member(NodeId("n1"), DiskId("0" * 32), address)
            one.topology = first_topology("one", [member], partitions=16, n=1, r=1, w=1)
            started.set()
            await stop.wait()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(loop.run_until_complete, serve())
        assert started.wait(20)
        yield one, address
        loop.call_soon_threadsafe(stop.set)
        done.result(20)
    loop.close()


@pytest.fixture
async def db(node: tuple[OneNode, str]) -> AsyncIterator[AsyncClient]:
    async with connect(node[1], timeout=10) as client:
        yield client


async def test_hot_methods_travel_in_frames(db: AsyncClient, node: tuple[OneNode, str]) -> None:
    before = node[0].framed
    await db.put("a", b"1")
    assert (await db.get("a")).value == b"1"
    assert node[0].framed == before + 2


async def test_errors_cross_as_themselves(db: AsyncClient) -> None:
    with pytest.raises(QuorumNotReached) as caught:
        await db.put("a", b"1", w=3)
    assert (caught.value.acked, caught.value.outcome) == (["n1"], "unknown")
    with pytest.raises(InvalidArgument, match="nowhere"):
        db.keyspace("nowhere")


async def test_the_status_is_the_members_own(db: AsyncClient) -> None:
    status = await db.status()
    assert (status.health, status.nodes[0].pid, status.ranges.ok) == ("ok", 4711, 16)


def test_the_blocking_twin_does_the_same(node: tuple[OneNode, str]) -> None:
    with client.blocking.Client(node[1], timeout=10) as db:
        receipt = db.put("b", b"2")
        assert db.get("b").value == b"2"
        assert db.get("absent", default=None) is None
        assert db.keyspace("default").locate("b").partition == 8
        db.put("b", b"3", context=receipt.context)
        with pytest.raises(NotFound):
            db.get("absent")


def test_the_command_line_writes_and_reads(
    node: tuple[OneNode, str], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    def run(*line: str) -> tuple[int, bytes, bytes]:
        code = main(["--endpoints", node[1], "--timeout", "10s", *line])
        out, err = capsysbinary.readouterr()
        return code, out, err

    code, out, _ = run("put", "k", "v", "-o", "json")
    receipt = json.loads(out)
    assert (code, receipt["dot"], receipt["replicas"][0]["durability"]) == (0, "n1#1:1", "synced")
    assert run("get", "k") == (0, b"v\n", b"")
    assert run("get", "k", "-o", "raw") == (0, b"v", b"")
    run("put", "ff00", "00ff", "--hex")
    assert run("get", "--hex", "ff00", "-o", "raw")[1] == b"\x00\xff"
    assert json.loads(run("get", "--hex", "ff00", "-o", "json")[1])["value_b64"] == "AP8="
    run("put", "k", "w", "--no-context")
    code, out, err = run("get", "k")
    assert (code, out) == (0, b"v\nw\n") and b"2 siblings" in err
    code, _, err = run("get", "k", "-o", "raw")
    assert code == ExitCode.FAILED and b"UNRESOLVED_SIBLINGS, nothing was changed" in err
    both = json.loads(run("get", "k", "-o", "json")[1])
    assert (both["value"], both["conflict"], len(both["siblings"])) == (None, True, 2)
    assert run("get", "k", "-o", "raw", "--sibling", "2")[1] == b"w"
    assert run("get", "absent")[0] == ExitCode.NOT_FOUND
    assert run("put", "k", "v", "-w", "3")[0] == ExitCode.QUORUM_NOT_REACHED
    assert run("put", "k" * 1025, "v")[0] == ExitCode.USAGE
    assert run("get", "k", "--keyspace", "nowhere")[0] == ExitCode.USAGE
    assert run("locate", "k")[1] == b"n1\tup\tn1#1:1\tsame\n"
    assert run("cluster", "status", "--check")[0] == ExitCode.DONE
