"""A process that listens on the port of a member that is down, and says that it is that member (rule F6)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

import ringmill
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.dialling.node_links import open_link
from ringmill.client.local.tcp_ports import free_base
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import PUT
from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_acceptor import GrpcAcceptor
from ringmill.cluster.adapters.network.grpc_streams import LINK, GrpcCarrier
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import PermissionDenied, QuorumNotReached, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.wire.stubs import kv_pb2
from ringmill.cluster.wire.stubs.topology_pb2 import GetTopologyResponse
from ringmill.node.services.grpc_calls.over_grpc import grpc_handlers
from ringmill.node.services.server import NodeServer, Services
from ringmill.node.services.table import Call, Service, Unary
from tests.e2e.cli.conftest import Shell

FALSE = kv_pb2.WriteReceipt(dot="n3#1:1", context=b"\x01", epoch=1, w=2).SerializeToString()
METHODS = (
    "replica.apply", "replica.apply_many", "hint.deliver", "swim.ping", "topology.pull", "task.poll",
    "task.start", "task.report", "job.submit", "bundle.fetch",
)  # fmt: skip


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("taken"))
    base = free_base(3, 20000 + os.getpid() % 1000 * 12)
    shell.ok("cluster", "up", "--nodes", "3", "--base-port", str(base))
    yield shell
    shell.ok("cluster", "down")


@asynccontextmanager
async def as_member(
    node: str, topology: Topology, address: str, asked: list[str]
) -> AsyncIterator[FrameTransport]:
    """All that a stranger can know of a member: its name, its cluster's topology and where it listened.

    It answers puts with false receipts.
    """
    clock = SystemClock()
    transport = FrameTransport(
        NodeId(node),
        GrpcCarrier(LINK, clock=clock),
        clock=clock,
        entropy=OsEntropy(),
        cluster=topology.cluster,
    )

    def note(method: str, _: Incoming) -> bytes:
        asked.append(method)
        return FALSE if method == "kv.put" else b""

    async def put(_body: bytes, _call: Call) -> bytes:
        asked.append("Kv.Put")
        return FALSE

    async def tell_topology(_body: bytes, _call: Call) -> bytes:
        told = GetTopologyResponse(epoch=topology.epoch, document=topology.encode(), cluster=topology.cluster)
        return told.SerializeToString()

    for method in (*METHODS, "kv.put"):
        transport.serve(method, partial(note, method))
    tables = (
        Service("ringmill.v1.Topology", {"Get": Unary(tell_topology)}),
        Service("ringmill.v1.Kv", {"Put": Unary(put)}),
    )
    services = Services(GrpcAcceptor(transport), grpc_handlers(tables, clock))
    async with transport, NodeServer(address, services):
        yield transport


async def take_over(shell: Shell, places: dict[str, str]) -> list[str]:
    """Write while a stranger listens as n3, and have it ask n1 as n3.  Returns what it was asked."""
    token = (shell.folder / "home" / "default" / "token").read_text().strip()
    asked: list[str] = []
    async with Directory([places["n1"]], open_link) as directory:
        await directory.learn(10)
        assert directory.topology is not None
        topology = directory.topology
    async with (
        as_member("n3", topology, places["n3"], asked) as stranger,
        ringmill.connect(f"{places['n1']},{places['n2']}", timeout=20, token=token) as db,
    ):
        for number in range(20):
            receipt = await db.put(f"key{number}", b"1")
            assert {each.node for each in receipt.replicas if each.role == "owner"} <= {"n1", "n2"}
        with pytest.raises(QuorumNotReached):
            await db.put("all", b"1", w=3, timeout=2)
        await put_to_the_stranger_alone(shell, places["n3"], token)
        stranger.set_peers({NodeId("n1"): places["n1"]})
        for method in METHODS:
            with pytest.raises((PermissionDenied, Unavailable), match=r"n1 .*has no token"):
                await stranger.call(NodeId("n1"), method, b"", timeout_s=5, priority=Priority.CONTROL)
        await asyncio.sleep(1)  # for hints and probes, which would have gone to it
    return asked


async def put_to_the_stranger_alone(shell: Shell, address: str, token: str) -> None:
    """Whoever has the token and knows this address alone is told who is there, and sends no put."""
    for session in (True, False):
        with pytest.raises(Unavailable, match="did not prove that it is a node") as refused:
            async with ringmill.connect(address, timeout=5, token=token, session=session) as db:
                await db.put("key", b"1")
        assert refused.value.outcome == "failed" and "taken over its port" in refused.value.hint
        link = open_link(address, session=session, token=token)  # as if the address was known before
        try:
            with pytest.raises(Unavailable, match="did not prove that it is a node") as refused:
                await link.call(PUT, kv_pb2.PutRequest(key=b"key", value=b"1"), 5)
            assert refused.value.outcome == "failed"
        finally:
            await link.close()
    line = ("--endpoints", address, "--token-file", "home/default/token", "put", "key", "1")
    ended = await asyncio.to_thread(shell.command, *line)
    assert ended.code == ExitCode.UNREACHABLE and "did not prove that it is a node" in ended.err, ended


def test_it_gets_nothing_and_can_ask_nothing(shell: Shell) -> None:
    status = shell.ok("cluster", "status", "-o", "json").json
    places = {each["id"]: each["address"] for each in status["nodes"]}
    shell.ok("cluster", "kill", "n3")
    assert not asyncio.run(take_over(shell, places))
    shell.ok("cluster", "up")
    shell.until_healthy()
    log = (shell.folder / "home" / "default" / "logs" / "n1.log").read_text()
    assert "a link of n3 was refused" in log
