"""A process that listens on the port of a member that is down, and says that it is that member (rule F6)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

import ringmill
from ringmill.client.connection import open_link
from ringmill.client.local.tcp_ports import free_base
from ringmill.client.routing.directory import Directory
from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_acceptor import GrpcAcceptor
from ringmill.cluster.adapters.network.grpc_streams import LINK, GrpcCarrier
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import PermissionDenied, QuorumNotReached, Unavailable
from ringmill.cluster.ids import ClusterId, NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.node.services.server import NodeServer, Services
from tests.e2e.cli.conftest import Shell

METHODS = ("replica.apply", "replica.apply_many", "hint.deliver", "swim.ping", "topology.pull", "task.poll")


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("taken"))
    base = free_base(3, 20000 + os.getpid() % 1000 * 12)
    shell.ok("cluster", "up", "--nodes", "3", "--base-port", str(base))
    yield shell
    shell.ok("cluster", "down")


@asynccontextmanager
async def as_member(
    node: str, cluster: ClusterId, address: str, asked: list[str]
) -> AsyncIterator[FrameTransport]:
    """All that a stranger can know of a member: its name, its cluster and where it listened."""
    clock = SystemClock()
    transport = FrameTransport(
        NodeId(node),
        GrpcCarrier(LINK, clock=clock),
        clock=clock,
        entropy=OsEntropy(),
        cluster=cluster,
    )

    def note(method: str, _: Incoming) -> bytes:
        asked.append(method)
        return b""

    for method in METHODS:
        transport.serve(method, partial(note, method))
    async with transport, NodeServer(address, Services(GrpcAcceptor(transport))):
        yield transport


async def take_over(places: dict[str, str]) -> list[str]:
    """Write while a stranger listens as n3, and have it ask n1 as n3.  Returns what it was asked."""
    asked: list[str] = []
    async with Directory([places["n1"]], open_link) as directory:
        await directory.learn(10)
        assert directory.topology is not None
        cluster = directory.topology.cluster
    async with (
        as_member("n3", cluster, places["n3"], asked) as stranger,
        ringmill.connect(f"{places['n1']},{places['n2']}", timeout=20) as db,
    ):
        for number in range(20):
            receipt = await db.put(f"key{number}", b"1")
            assert {each.node for each in receipt.replicas if each.role == "owner"} <= {"n1", "n2"}
        with pytest.raises(QuorumNotReached):
            await db.put("all", b"1", w=3, timeout=2)
        stranger.set_peers({NodeId("n1"): places["n1"]})
        for method in METHODS:
            with pytest.raises((PermissionDenied, Unavailable), match=r"n1 .*has no token"):
                await stranger.call(NodeId("n1"), method, b"", timeout_s=5, priority=Priority.CONTROL)
        await asyncio.sleep(1)  # for hints and probes, which would have gone to it
    return asked


def test_it_gets_nothing_and_can_ask_nothing(shell: Shell) -> None:
    status = shell.ok("cluster", "status", "-o", "json").json
    places = {each["id"]: each["address"] for each in status["nodes"]}
    shell.ok("cluster", "kill", "n3")
    assert not asyncio.run(take_over(places))
    shell.ok("cluster", "up")
    shell.ok("cluster", "status", "--wait", "healthy", "--timeout", "30s")
    log = (shell.folder / "home" / "default" / "logs" / "n1.log").read_text()
    assert "a link of n3 was refused" in log
