"""Running nodes become one cluster: slow answers are forgiven, what cannot be is refused by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckResponse

from ringmill.client.local import cluster_forming
from ringmill.client.local.cluster_forming import Effort, Shape, form, have_cluster, wait_ready
from ringmill.client.local.local_forming import form_local
from ringmill.client.local.local_state import LocalCluster
from ringmill.client.routing.links import HEALTH, IDENTIFY, INIT, STATUS, TOPOLOGY, Method
from ringmill.cluster.errors import Conflict, DeadlineExceeded, InvalidArgument, RingmillError, Unavailable
from ringmill.cluster.ids import DiskId, Epoch, NodeId
from ringmill.cluster.ring.recovery import recovered
from ringmill.cluster.ring.replacement import replaced
from ringmill.cluster.ring.topology import Owner, Topology
from ringmill.cluster.wire.stubs.membership_pb2 import StatusResponse
from ringmill.cluster.wire.stubs.topology_pb2 import (
    GetTopologyResponse,
    IdentifyResponse,
    InitRequest,
    InitResponse,
)

SHAPE = Shape("c", 2, 16)


@dataclass
class FakeNode:
    """A node that may be slow: `troubles` are raised by the next calls, in turn."""

    name: str
    address: str
    disk: str
    document: bytes = b""
    troubles: list[RingmillError] = field(default_factory=list)
    serves: bool = True
    calls: int = 0
    pid: int = 1

    async def call(self, method: Method[Message], request: Message, timeout_s: float) -> Message:
        await asyncio.sleep(0)
        self.calls += 1
        if self.troubles:
            raise self.troubles.pop(0)
        if method is STATUS:
            return StatusResponse(pid=self.pid)
        if method is IDENTIFY:
            cluster = Topology.decode(self.document).cluster if self.document else ""
            return IdentifyResponse(node=self.name, disk=self.disk, address=self.address, cluster=cluster)
        if method is INIT:
            assert isinstance(request, InitRequest)
            offered = Topology.decode(request.document)
            if offered.epoch != 1 or not offered.has_seat(Owner(NodeId(self.name), DiskId(self.disk))):
                raise InvalidArgument("no first document of this node")  # as TopologyAgent.take_first
            self.document = self.document or request.document
            return InitResponse()
        if method is TOPOLOGY:
            return GetTopologyResponse(document=self.document)
        assert method is HEALTH
        is_ready = self.serves and bool(self.document)
        status = HealthCheckResponse.SERVING if is_ready else HealthCheckResponse.NOT_SERVING
        answer: Message = HealthCheckResponse(status=status)
        return answer

    async def close(self) -> None:
        pass


@asynccontextmanager
async def running(*names: str) -> AsyncIterator[list[FakeNode]]:
    servers = [await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) for _ in names]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    try:
        yield [
            FakeNode(name, f"127.0.0.1:{port}", f"{number:032x}")
            for number, (name, port) in enumerate(zip(names, ports, strict=True))
        ]
    finally:
        for server in servers:
            server.close()


def effort(nodes: Iterable[FakeNode], timeout_s: float = 60.0) -> Effort:
    by_address = {node.address: node for node in nodes}
    return Effort(list(by_address), timeout_s, dial=by_address.__getitem__)  # type: ignore[arg-type]


async def test_nodes_become_one_cluster_and_doing_it_again_changes_nothing() -> None:
    async with running("n1", "n2", "n3") as nodes:
        formed = await form(effort(nodes), SHAPE)
        assert formed.joined == ("n1", "n2", "n3")
        documents = {node.document for node in nodes}
        again = await form(effort(nodes), SHAPE)
        assert (again.joined, again.topology) == ((), formed.topology)
        assert {node.document for node in nodes} == documents and len(documents) == 1


async def test_calls_that_time_out_are_made_again_until_the_time_of_the_whole_is_over() -> None:
    async with running("n1", "n2") as nodes:
        nodes[0].troubles = [DeadlineExceeded("slow"), Unavailable("no")]
        nodes[1].troubles = [DeadlineExceeded("slow") for _ in range(5)]
        await form(effort(nodes), SHAPE)
        nodes[1].troubles = [DeadlineExceeded("slow") for _ in range(5)]
        await wait_ready(effort(nodes))
        assert not nodes[1].troubles


async def test_time_that_ran_out_is_reported_as_it_was_with_what_was_waited_for() -> None:
    async with running("n1", "n2") as nodes:
        nodes[1].serves = False
        began = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineExceeded) as caught:
            await form(effort(nodes, 0.3), SHAPE)
        took_s = asyncio.get_running_loop().time() - began
        told_s = float(caught.value.message.partition("not ready after ")[2].partition(" s:")[0])
        assert 0.3 <= told_s <= took_s + 0.05
        assert caught.value.detail["waiting"] == {nodes[1].address: "answers, is not ready to serve"}


async def test_an_address_where_nobody_listens_is_named() -> None:
    async with running("n1", "n2") as nodes:
        gone = FakeNode("n3", "127.0.0.1:1", "f" * 32)
        with pytest.raises(DeadlineExceeded, match=r"127\.0\.0\.1:1 nobody listens"):
            await form(effort([*nodes, gone], 0.2), SHAPE)


async def test_a_process_that_ended_ends_the_waiting() -> None:
    gone = FakeNode("n3", "127.0.0.1:1", "f" * 32)
    trying = effort([gone])

    def check(address: str) -> None:
        raise RingmillError(f"{address} ended")

    trying.check = check
    with pytest.raises(RingmillError, match=r"127\.0\.0\.1:1 ended"):
        await form(trying, SHAPE)


async def test_a_node_that_lacks_the_document_is_given_the_one_that_others_hold() -> None:
    async with running("n1", "n2", "n3") as nodes:
        await form(effort(nodes), SHAPE)
        nodes[2].document = b""
        formed = await form(effort(nodes), SHAPE)
        assert formed.joined == ("n3",) and nodes[2].document == nodes[0].document


async def test_a_later_document_is_left_to_the_members() -> None:
    """A node that missed the first one is offered the newest by any member."""
    async with running("n1", "n2", "n3") as nodes:
        formed = await form(effort(nodes), SHAPE)
        later = replace(formed.topology, epoch=Epoch(2)).encode()
        nodes[0].document = nodes[1].document = later
        nodes[2].document = b""

        async def offer() -> None:
            await asyncio.sleep(0.1)
            nodes[2].document = later

        offering = asyncio.create_task(offer())
        again = await form(effort(nodes), SHAPE)
        assert (again.joined, again.topology.epoch) == (("n3",), 2)
        await offering


@pytest.mark.parametrize("is_empty", [True, False])
async def test_a_node_on_another_disk_is_named_when_the_others_are_ready(is_empty: bool) -> None:
    async with running("n1", "n2", "n3") as nodes:
        await form(effort(nodes), SHAPE)
        nodes[1].troubles = [Unavailable("busy")] * 4
        nodes[2].disk = "f" * 32
        if is_empty:
            nodes[2].document = b""
        with pytest.raises(Conflict, match=f"n3 has disk {'f' * 32}, not 0*2$") as refused:
            await form(effort(nodes, 5), SHAPE)
        assert refused.value.detail["other_disks"] == ["n3"] and "cluster replace n3" in refused.value.hint
        assert not nodes[1].troubles


async def test_a_node_on_another_disk_is_named_though_the_others_cannot_serve_without_it() -> None:
    """Of two nodes one has lost its disk, and the other waits until somebody notes its start."""
    async with running("n1", "n2") as nodes:
        await form(effort(nodes), SHAPE)
        nodes[0].serves = False
        nodes[1].disk, nodes[1].document = "f" * 32, b""
        with pytest.raises(Conflict, match=f"n2 has disk {'f' * 32}, not 0*1; not ready after 0") as refused:
            await form(effort(nodes, 0.3), SHAPE)
        waiting = {nodes[0].address: "answers, is not ready to serve"}
        assert refused.value.detail == {"other_disks": ["n2"], "waiting": waiting}
        assert "cluster recover n2" in refused.value.hint


async def test_a_conflict_about_anything_else_is_reported_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> None:
        raise Conflict("another cluster", hint="look")

    monkeypatch.setattr(cluster_forming, "form", refused)
    with pytest.raises(Conflict, match="another cluster") as caught:
        await form_local(LocalCluster("c", str(tmp_path), 1, 16, ()), {}, 1.0)
    assert caught.value.hint == "look"


async def test_the_newest_document_says_who_is_on_the_named_disk() -> None:
    """n2 has missed that the disk of n3 was replaced."""
    async with running("n1", "n2", "n3") as nodes:
        topology = (await form(effort(nodes), SHAPE)).topology
        nodes[2].disk = "f" * 32
        newer = replaced(topology, NodeId("n3"), topology.member(NodeId("n3")).disk, DiskId("f" * 32))
        assert newer is not None
        nodes[0].document = nodes[2].document = newer.encode()
        for order in (nodes, nodes[::-1]):
            assert (await form(effort(order), SHAPE)).topology.epoch == 2


async def test_nodes_of_two_clusters_are_refused_and_nothing_is_changed() -> None:
    async with running("n1", "n2", "n3") as nodes:
        await form(effort(nodes[:1]), Shape("one", 1, 16))
        await form(effort(nodes[1:2]), Shape("two", 1, 16))
        with pytest.raises(InvalidArgument, match="belong to different clusters"):
            await form(effort(nodes), SHAPE)
        assert nodes[2].document == b""


async def test_whoever_was_given_up_and_runs_as_before_is_named() -> None:
    """All nodes were started at once, and n2 and n3 confirmed each other before n1 listened."""
    async with running("n1", "n2", "n3") as nodes:
        topology = (await form(effort(nodes), SHAPE)).topology
        nodes[0].document = recovered(topology, [NodeId("n2"), NodeId("n3")]).encode()
        for order in (nodes, nodes[::-1]):
            with pytest.raises(InvalidArgument, match="n2, n3 belongs to a former cluster") as refused:
                await form(effort(order), SHAPE)
            assert "ringmill node reset DIR" in refused.value.hint


async def test_a_node_cannot_be_added_to_a_cluster_that_was_formed() -> None:
    async with running("n1", "n2", "n3") as nodes:
        await form(effort(nodes[:2]), SHAPE)
        with pytest.raises(InvalidArgument, match="does not name n3; its nodes are n1, n2"):
            await form(effort(nodes), SHAPE)
        assert nodes[2].document == b""


async def test_two_nodes_of_one_name_are_refused() -> None:
    async with running("n1", "n1") as nodes:
        with pytest.raises(InvalidArgument, match="are both called n1"):
            await form(effort(nodes), SHAPE)
        assert not any(node.document for node in nodes)


async def test_a_node_of_another_cluster_on_the_same_port_is_not_taken_for_ours() -> None:
    async with running("n1", "n2") as nodes:
        await form(effort(nodes), SHAPE)  # by somebody else
        trying = effort(nodes)
        trying.pids = {nodes[0].address: 1, nodes[1].address: 2}
        with pytest.raises(RingmillError, match=r"is answered by pid 1, and .* is pid 2"):
            await form(trying, SHAPE)
        with pytest.raises(RingmillError, match="is answered by pid 1"):
            await wait_ready(trying)


async def test_whether_nodes_have_a_cluster_is_known_also_while_they_cannot_serve() -> None:
    async with running("n1", "n2") as nodes:
        assert not await have_cluster(effort(nodes))
        await form(effort(nodes), SHAPE)
        nodes[0].serves, nodes[1].troubles = False, [Unavailable("busy")]
        assert await have_cluster(effort(nodes))
        nodes[1].document = b""
        assert not await have_cluster(effort(nodes))
        nodes[1].troubles = [Unavailable("busy")] * 1000
        assert not await have_cluster(effort(nodes, timeout_s=0.02))


def test_a_call_may_take_less_than_the_whole() -> None:
    assert cluster_forming.CALL_S * 5 < 30
