"""The Topology and Membership services over a real gRPC server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ringmill.cluster.access.scram import kept_keys
from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_acceptor import GrpcAcceptor
from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.grpc_streams import LINK, GrpcCarrier
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.hot.key_heat import HeatOptions, KeyHeat
from ringmill.cluster.ids import DiskId, NodeId, PartitionId, Start
from ringmill.cluster.membership.profile import FAST
from ringmill.cluster.ring.access.access_changes import issued
from ringmill.cluster.ring.access.access_entries import OPEN_TO_ALL, TokenEntry
from ringmill.cluster.ring.document import FORMAT_VERSION
from ringmill.cluster.ring.plans.moving_rate import MeasuredMoves
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.wire.stubs.membership_pb2 import (
    SizesRequest,
    SizesResponse,
    StatusRequest,
    StatusResponse,
)
from ringmill.cluster.wire.stubs.topology_pb2 import (
    GetFormerTopologyRequest,
    GetFormerTopologyResponse,
    GetTopologyRequest,
    GetTopologyResponse,
    IdentifyRequest,
    IdentifyResponse,
    InitRequest,
    InitResponse,
)
from ringmill.node.membership.history.topology_history import TopologyHistory
from ringmill.node.membership.liveness import Liveness
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.node.services.figures import NodeFigures
from ringmill.node.services.grpc_calls.over_grpc import grpc_handlers
from ringmill.node.services.membership_service import MembershipService
from ringmill.node.services.server import NodeServer, Services
from ringmill.node.services.table import Call, Unary
from ringmill.node.services.topology_service import NodeCard, TopologyService
from tests.node.kept_values import KeptValues

N1 = NodeId("n1")
DISK = DiskId("1" * 32)


async def test_clients_are_told_documents_without_the_keys_of_tokens() -> None:
    first = first_topology("demo", [Member(N1, DISK, "127.0.0.1:7101")], partitions=16)
    token = TokenEntry("a" * 16, "ci", "read", 900, 0, False, kept_keys(b"s" * 32))
    known = issued(first, token, 1000.0)
    assert known is not None
    service = TopologyService(
        NodeCard(N1, DISK, Start(4, "b"), "127.0.0.1:7101", "a", "0.1.0"),
        SimpleNamespace(current=known),  # type: ignore[arg-type]
        SimpleNamespace(find=lambda _: known.encode(), epochs=lambda: (known.epoch,)),  # type: ignore[arg-type]
        HybridClock(SystemClock()),
        is_leaving=lambda: False,
    ).service()
    told = {}
    for name, kind in (("Get", GetTopologyResponse), ("GetFormer", GetFormerTopologyResponse)):
        method = service.methods[name]
        assert isinstance(method, Unary)
        told[name] = kind.FromString(await method.run(b"", Call())).document
    assert told["Get"] == told["GetFormer"]
    assert not any(key in told["Get"] for key in token.keys)
    assert Topology.decode(told["Get"]) == replace(known, access=OPEN_TO_ALL)


@pytest.fixture
async def link() -> AsyncIterator[ClientLink]:
    """A client's link to one running node n1, which has not been initialised."""
    clock, entropy, start = SystemClock(), OsEntropy(), Start(4, "b")
    transport = FrameTransport(N1, GrpcCarrier(LINK, clock=clock), clock=clock, entropy=entropy)
    store = KeptValues()
    history = TopologyHistory(store)
    agent = TopologyAgent(N1, disk=DISK, store=store, transport=transport, remember=history.saw)
    liveness = Liveness(
        N1, disk=DISK, start=start, profile=FAST,
        topology=agent, transport=transport, clock=clock, entropy=entropy, noted=lambda _: None,
    )  # fmt: skip
    for method, handler in {**agent.handlers(), **liveness.handlers()}.items():
        transport.serve(method, handler)
    card = NodeCard(N1, DISK, start, "127.0.0.1:7101", "a", "0.1.0")
    figures = NodeFigures(
        7, 4096, {NodeId("n2"): 2, NodeId("n3"): 3}, "n1",
        engine={"failed_flushes": 2}, engine_failure="flush: no space",
    )  # fmt: skip
    membership = MembershipService(
        N1,
        agent=agent,
        liveness=liveness,
        figures=lambda: figures,
        metrics=list,
        pace=MeasuredMoves,
        sizes=lambda: {PartitionId(3): 40, PartitionId(4): 0},
        heat=KeyHeat(clock, HeatOptions()).report,
        pid=4711,
        clock=clock,
    )
    tables = (
        TopologyService(card, agent, history, HybridClock(clock), is_leaving=lambda: False).service(),
        membership.service(),
    )
    services = Services(GrpcAcceptor(transport), grpc_handlers(tables, clock))
    async with transport, NodeServer("127.0.0.1:0", services) as server, ClientLink(server.address) as link:
        yield link


def document() -> Topology:
    others = [Member(NodeId(f"n{i}"), DiskId(f"{i}" * 32), f"127.0.0.1:{7100 + i}") for i in (2, 3)]
    return first_topology("demo", [Member(N1, DISK, "127.0.0.1:7101", "a"), *others])


async def identify(link: ClientLink) -> IdentifyResponse:
    return await link.unary("/ringmill.v1.Topology/Identify", IdentifyRequest(), IdentifyResponse, 5)


async def init(link: ClientLink, data: bytes) -> InitResponse:
    return await link.unary("/ringmill.v1.Topology/Init", InitRequest(document=data), InitResponse, 5)


async def get(link: ClientLink, known: int = 0) -> GetTopologyResponse:
    request = GetTopologyRequest(known_epoch=known)
    return await link.unary("/ringmill.v1.Topology/Get", request, GetTopologyResponse, 5)


async def status(link: ClientLink) -> StatusResponse:
    return await link.unary("/ringmill.v1.Membership/Status", StatusRequest(), StatusResponse, 5)


async def test_a_node_names_itself_before_it_has_a_cluster(link: ClientLink) -> None:
    answer = await identify(link)
    assert (answer.node, answer.disk, answer.start, answer.boot) == ("n1", DISK, 4, "b")
    assert (answer.cluster, answer.epoch, answer.zone) == ("", 0, "a")
    assert answer.reads == FORMAT_VERSION
    told = await get(link)
    assert (told.epoch, told.document) == (0, b"")
    assert told.hybrid_time > 0, "with it a client's first write can be sent again"
    assert (await status(link)).pid == 4711


async def test_init_gives_it_a_document_that_get_returns_once(link: ClientLink) -> None:
    topology = document()
    assert (await init(link, topology.encode())).cluster == topology.cluster
    assert (await init(link, topology.encode())).epoch == 1
    assert Topology.decode((await get(link)).document) == topology
    assert (await get(link, known=1)).document == b""
    assert (await identify(link)).cluster == topology.cluster


async def test_another_cluster_and_rubbish_are_refused_with_the_reason(link: ClientLink) -> None:
    await init(link, document().encode())
    other = first_topology("other", [Member(N1, DISK, "127.0.0.1:7101")], r=1, w=1)
    with pytest.raises(InvalidArgument, match="belongs to cluster demo"):
        await init(link, other.encode())
    with pytest.raises(InvalidArgument, match="are not a topology document"):
        await init(link, b"\xc1\xc1")
    with pytest.raises(InvalidArgument, match="does not name n1"):
        await init(link, first_topology("x", [replace(document().members[1])], r=1, w=1).encode())


async def test_status_tells_members_figures_and_ranges(link: ClientLink) -> None:
    await init(link, document().encode())
    answer = await status(link)
    assert [(m.id, m.state, m.membership, m.owns) for m in answer.members] == [
        ("n1", "up", "up", 256), ("n2", "up", "up", 256), ("n3", "up", "up", 256)
    ]  # fmt: skip
    assert (answer.keys, answer.bytes, answer.hints, answer.coordinator) == (7, 4096, 5, "n1")
    assert (dict(answer.engine), answer.engine_failure) == ({"failed_flushes": 2}, "flush: no space")
    assert dict(answer.hints_by_node) == {"n2": 2, "n3": 3}
    assert (answer.ranges_ok, answer.ranges_under_replicated, answer.ranges_no_quorum) == (256, 0, 0)
    assert answer.n == 3 and answer.uptime_s >= 0


async def test_a_node_tells_what_it_stores_of_each_partition(link: ClientLink) -> None:
    told = await link.unary("/ringmill.v1.Membership/Sizes", SizesRequest(), SizesResponse, 5)
    assert (told.node, dict(told.bytes), told.counting) == ("n1", {3: 40}, False)


async def test_earlier_documents_are_reported_and_those_that_are_remembered(link: ClientLink) -> None:
    first = document()
    await link.unary("/ringmill.v1.Topology/Init", InitRequest(document=first.encode()), InitResponse, 5)
    for epoch, held in ((1, first.encode()), (2, b"")):
        request = GetFormerTopologyRequest(epoch=epoch)
        told = await link.unary("/ringmill.v1.Topology/GetFormer", request, GetFormerTopologyResponse, 5)
        assert (told.document, list(told.epochs)) == (held, [1])
