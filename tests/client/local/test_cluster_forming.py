"""Running nodes become one cluster: slow answers are forgiven, what cannot be is refused by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckResponse

from ringmill.client.local import cluster_forming
from ringmill.client.local.cluster_forming import (
    Effort,
    Formed,
    Shape,
    form,
    have_cluster,
    wait_ready,
    wait_seen,
)
from ringmill.client.local.local_forming import form_local
from ringmill.client.local.local_state import LocalCluster
from ringmill.client.routing.links import HEALTH, IDENTIFY, INIT, STATUS, TOPOLOGY, Method
from ringmill.cluster.errors import Conflict, DeadlineExceeded, InvalidArgument, RingmillError, Unavailable
from ringmill.cluster.ids import DiskId, Epoch, NodeId
from ringmill.cluster.ring.recovery import recovered
from ringmill.cluster.ring.replacement import replaced
from ringmill.cluster.ring.topology import Owner, Topology
from ringmill.cluster.wire.stubs.membership_pb2 import MemberView, StatusResponse
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
    refuses: bool = False
    calls: int = 0
    pid: int = 1
    views: list[Mapping[str, str]] = field(default_factory=list)  # of others, look by look; the last stays

    async def call(self, method: Method[Message], request: Message, timeout_s: float) -> Message:
        await asyncio.sleep(0)
        self.calls += 1
        if self.troubles:
            raise self.troubles.pop(0)
        if method is STATUS:
            view = self.views[0] if self.views else {}
            del self.views[: len(self.views) > 1]
            members = [MemberView(id=node, state=state) for node, state in view.items()]
            return StatusResponse(pid=self.pid, members=members)
        if method is IDENTIFY:
            cluster = Topology.decode(self.document).cluster if self.document else ""
            return IdentifyResponse(node=self.name, disk=self.disk, address=self.address, cluster=cluster)
        if method is INIT:
            assert isinstance(request, InitRequest)
            offered = Topology.decode(request.document)
            seat = Owner(NodeId(self.name), DiskId(self.disk))
            if self.refuses or offered.epoch != 1 or not offered.has_seat(seat):
                raise InvalidArgument("no first document of this node")  # as TopologyAgent.take_first
            self.document = self.document or request.document
            if Topology.decode(self.document).cluster != offered.cluster:
                raise InvalidArgument(f"{self.name} belongs to another cluster")
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


async def test_of_two_who_form_the_same_nodes_at_once_both_get_one_cluster() -> None:
    """Given to all nodes at once, each document would reach some first, and no node could take the other."""
    async with running("n1", "n2", "n3") as nodes:
        both = await asyncio.gather(
            form(effort(nodes), SHAPE), form(effort(reversed(nodes)), Shape("other", 1, 32))
        )
        assert both[0].topology == both[1].topology
        assert {node.document for node in nodes} == {both[0].topology.encode()}


@pytest.mark.parametrize("lists", [((1, 2, 3), (2, 3, 4)), ((1, 2, 3), (2, 3, 4), (3, 4, 1))])
async def test_of_those_who_form_lists_that_overlap_one_gets_a_cluster(
    lists: Sequence[Sequence[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls take as long as it happens.  Given to all at once, n1 and n3 may hold one, n2 and n4 another."""
    real = FakeNode.call
    for seed in range(60):
        random = Random(seed)

        async def late(node: FakeNode, *call: Any, random: Random = random) -> Message:  # of any of the forms
            for _ in range(random.randrange(4)):
                await asyncio.sleep(0)
            return await real(node, *call)

        monkeypatch.setattr(FakeNode, "call", late)
        async with running("n1", "n2", "n3", "n4") as nodes:
            ended = await asyncio.gather(
                *(form(effort([nodes[number - 1] for number in each]), SHAPE) for each in lists),
                return_exceptions=True,
            )
            held = [Topology.decode(node.document) for node in nodes if node.document]
        counting = {each.cluster for each in held if held.count(each) > len(each.voters) // 2}
        formed = {each.topology.cluster for each in ended if isinstance(each, Formed)}
        assert formed == counting and len(formed) == 1, (seed, ended)


async def test_who_is_refused_half_way_is_told_by_whom_and_who_has_the_document_now() -> None:
    async with running("n1", "n2", "n3") as nodes:
        nodes[1].refuses = True
        with pytest.raises(
            InvalidArgument, match="n2 refuses the first document of cluster c: no"
        ) as refused:
            await form(effort(nodes), SHAPE)
        assert nodes[0].document and not nodes[2].document, "nobody behind it is given one"
        assert refused.value.detail["given"] == ["n1"] and refused.value.outcome == "unknown"
        assert refused.value.detail["changed"].startswith("n1 took it")
        assert "end n1 first, and `ringmill node reset DIR`" in refused.value.hint


async def test_a_document_of_another_cluster_than_is_meant_is_given_to_nobody_else() -> None:
    """Somebody who meant another name was killed when one node had its document."""

    def check(topology: Topology) -> None:
        if topology.name != "prod":
            raise InvalidArgument(f"these nodes are cluster {topology.name}", hint="leave it out")

    async with running("n1", "n2", "n3") as nodes:
        await form(effort(nodes), Shape("typo", 3, 16))
        nodes[1].document = nodes[2].document = b""
        nodes[0].serves = False
        with pytest.raises(InvalidArgument, match="these nodes are cluster typo") as refused:
            await form(effort(nodes), Shape("prod", 3, 64, check=check))
        assert not nodes[1].document and not nodes[2].document
        assert "n1 has its first document and serves nothing" in refused.value.hint
        assert refused.value.outcome == "failed"
        nodes[0].serves = True
        with pytest.raises(InvalidArgument) as refused:
            await form(effort(nodes), Shape("prod", 3, 64, check=check))
        assert refused.value.hint == "leave it out", "a cluster that serves was formed"


async def test_a_cluster_that_was_not_formed_is_not_added_to() -> None:
    async with running("n1", "n2", "n3") as nodes:
        await form(effort(nodes[:2]), SHAPE)
        nodes[0].serves, nodes[1].document = False, b""
        with pytest.raises(InvalidArgument, match="does not name n3") as refused:
            await form(effort([nodes[0], nodes[2]]), SHAPE)
        assert "form n1, n2 with its settings" in refused.value.hint
        assert "cluster add" not in refused.value.hint


async def test_a_first_document_that_a_node_refuses_for_itself_is_offered_once() -> None:
    async with running("n1", "n2") as nodes:
        nodes[0].refuses = True
        with pytest.raises(InvalidArgument, match="no first document of this node"):
            await form(effort(nodes), SHAPE)
        assert not any(node.document for node in nodes)


async def test_calls_that_time_out_are_made_again_until_the_time_of_the_whole_is_over() -> None:
    async with running("n1", "n2") as nodes:
        nodes[0].troubles = [DeadlineExceeded("slow"), Unavailable("no")]
        nodes[1].troubles = [DeadlineExceeded("slow") for _ in range(5)]
        await form(effort(nodes), SHAPE)
        nodes[1].troubles = [DeadlineExceeded("slow") for _ in range(5)]
        await wait_ready(effort(nodes))
        assert not nodes[1].troubles


async def test_those_that_have_started_are_waited_for_until_all_who_answer_see_them_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """n3 does not answer; that n4 is down to n1 is nobody's matter, as it was not started."""
    monkeypatch.setattr(cluster_forming, "LOOK_S", 0.001)
    async with running("n1", "n2", "n3") as nodes:
        nodes[0].views = [{"n2": "down", "n4": "down"}, {"n2": "suspect"}, {"n2": "slow", "n4": "down"}]
        nodes[1].views = [{"n1": "up", "n2": "up"}]
        nodes[2].troubles = [DeadlineExceeded("paused")]
        assert await wait_seen(effort(nodes), ["n2"])
        assert nodes[0].calls == 3 and nodes[1].calls == nodes[2].calls == 1
        nodes[0].views = [{"n2": "down"}]
        assert not await wait_seen(effort(nodes, timeout_s=0.05), ["n2"]), "they serve, and nothing is raised"


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
        assert caught.value.outcome == "unknown", "both have the document"


async def test_an_address_where_nobody_listens_is_named() -> None:
    async with running("n1", "n2") as nodes:
        gone = FakeNode("n3", "127.0.0.1:1", "f" * 32)
        with pytest.raises(DeadlineExceeded, match=r"127\.0\.0\.1:1 nobody listens"):
            await form(effort([*nodes, gone], 1.0), SHAPE)  # short, and longer than a machine stands still
        assert not any(node.document for node in nodes)


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
