"""A look asks all members: those of the newest topology that one tells, and none that hangs for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message import Message

from ringmill.client.administration import asking
from ringmill.client.administration.moves_view import moves_of
from ringmill.client.administration.node_metrics import ask_metrics
from ringmill.client.administration.status import ClusterStatus, cluster_status
from ringmill.client.gateway.http.answers.cluster_answers import READY_S, get_ready
from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.routing.directory import PROBE_EVERY_S, PROBE_TIMEOUT_S, Directory
from ringmill.cluster.errors import DeadlineExceeded, Unavailable
from ringmill.cluster.ids import DiskId, Epoch, NodeId
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.cluster.wire.stubs.members_pb2 import GetMovesRequest, GetMovesResponse
from ringmill.cluster.wire.stubs.membership_pb2 import (
    MemberView,
    MetricFamily,
    MetricSample,
    MetricsRequest,
    MetricsResponse,
    StatusRequest,
    StatusResponse,
)
from tests.client.routing.test_router import FakeCluster, FakeNode

N6 = Member(NodeId("n6"), DiskId("6" * 32), "127.0.0.1:7106")


class ToldCluster(FakeCluster):
    """Its nodes tell of themselves, too."""

    def __init__(self) -> None:
        super().__init__()
        self.told_epochs: dict[str, list[int]] = {}  # before the present one
        for node in self.nodes.values():
            self._let_tell(node)

    def grow(self) -> None:
        former = self.topology
        bigger = first_topology("test", [*former.members, N6], partitions=16)
        self.topology = replace(bigger, cluster=former.cluster, epoch=Epoch(former.epoch + 1))
        self.nodes[N6.address] = FakeNode(N6.address, self)
        self._let_tell(self.nodes[N6.address])

    def _let_tell(self, node: FakeNode) -> None:
        plain, name = node.call, f"n{node.address[-1]}"

        async def call(method: object, request: Message, timeout_s: float) -> Message:
            asked = {StatusRequest: self._status, MetricsRequest: self._metrics, GetMovesRequest: self._moves}
            if type(request) not in asked or node.is_silent:
                return await plain(method, request, timeout_s)  # type: ignore[arg-type]
            node.asked.append(type(request).__name__)
            if node.delay_s > timeout_s:
                await asyncio.sleep(timeout_s)
                raise DeadlineExceeded("too slow")
            await asyncio.sleep(node.delay_s)
            return asked[type(request)](name)

        node.call = call  # type: ignore[method-assign, assignment]

    def _status(self, name: str) -> StatusResponse:
        former = self.told_epochs.get(name)
        epoch = former.pop() if former else self.topology.epoch
        members = [MemberView(id=each.id, state="up") for each in self.topology.members]
        return StatusResponse(node=name, epoch=epoch, members=members, ranges_ok=16, pid=1)

    def _metrics(self, name: str) -> MetricsResponse:
        epoch = MetricFamily(name="epoch", samples=[MetricSample(value=self.topology.epoch)])
        return MetricsResponse(node=name, clock_s=1.0, families=[epoch])

    def _moves(self, name: str) -> GetMovesResponse:
        return GetMovesResponse()


@asynccontextmanager
async def directory_of(cluster: ToldCluster) -> AsyncIterator[Directory]:
    async with Directory(list(cluster.nodes), cluster.dial) as directory:
        await directory.learn(1.0)
        yield directory


async def test_a_client_that_only_looks_learns_of_a_new_member() -> None:
    cluster = ToldCluster()
    async with directory_of(cluster) as directory:
        cluster.grow()
        seen = await cluster_status(directory, 5.0)
        assert (seen.health, seen.reasons, seen.nodes[-1].id) == ("ok", (), "n6")
        assert seen.nodes[-1].pid == 1
    cluster = ToldCluster()
    async with directory_of(cluster) as directory:
        cluster.grow()
        assert "n6" in await ask_metrics(directory, 5.0)


async def test_a_member_that_left_is_not_asked_again_and_is_not_a_reason() -> None:
    cluster = ToldCluster()
    cluster.grow()
    async with directory_of(cluster) as directory:
        left = first_topology("test", cluster.topology.members[:5], partitions=16)
        left = replace(left, cluster=cluster.topology.cluster, epoch=Epoch(cluster.topology.epoch + 1))
        cluster.topology = left
        cluster.nodes[N6.address].is_listening = False
        cluster.nodes[N6.address].is_silent = True
        seen = await cluster_status(directory, 1.0)
        assert (seen.health, seen.reasons, len(seen.nodes)) == ("ok", (), 5)


async def test_one_that_is_not_heard_makes_no_other_one_suspect() -> None:
    """It is to be removed as dead, and answers: who has taken its host over may have it say anything."""
    cluster = ToldCluster()
    honest = cluster._status

    def lies(name: str) -> StatusResponse:
        told = honest(name)
        for each in told.members if name == "n5" else ():
            each.state = "down" if each.id in ("n1", "n2") else "up"
        return told

    cluster._status = lies  # type: ignore[method-assign]
    async with directory_of(cluster) as directory:
        states = [each.state for each in (await cluster_status(directory, 5.0)).nodes]
        assert states == ["suspect", "suspect", "up", "up", "up"]
        seen = await cluster_status(directory, 5.0, unheard=[NodeId("n5")])
        assert [each.state for each in seen.nodes] == ["up"] * 4 + ["suspect"], "as of one that is silent"
        assert [each.pid for each in seen.nodes] == [1, 1, 1, 1, None]
        with pytest.raises(Unavailable):
            await cluster_status(directory, 5.0, unheard=[NodeId(f"n{at}") for at in range(1, 6)])


async def test_a_member_that_hears_of_an_epoch_late_is_asked_again_and_one_that_never_does_is_a_reason() -> (
    None
):
    cluster = ToldCluster()
    async with directory_of(cluster) as directory:
        cluster.grow()
        cluster.told_epochs = {"n2": [1]}
        assert (await cluster_status(directory, 5.0)).health == "ok"
        cluster.told_epochs = {"n2": [1, 1]}
        assert (await cluster_status(directory, 5.0)).reasons == ("n2 is at epoch 1",)


async def test_a_member_that_hangs_is_waited_for_once() -> None:
    cluster, loop = ToldCluster(), asyncio.get_running_loop()
    async with directory_of(cluster) as directory:
        hung = list(cluster.nodes.values())[2]
        hung.is_silent = True
        began = loop.time()
        seen = await cluster_status(directory, 2.0, waits=False)
        assert loop.time() - began == pytest.approx(2.0) and seen.nodes[2].state == "suspect"
        began = loop.time()
        assert (await cluster_status(directory, 2.0, waits=False)).nodes[2].state == "suspect"
        assert "n3" not in await ask_metrics(directory, 2.0)
        assert (await moves_of(directory, cluster.topology, 2.0)).silent == ("n3",)
        assert loop.time() - began == pytest.approx(3 * asking.SILENT_S)
        await cluster_status(directory, 2.0)
        assert loop.time() - began == pytest.approx(3 * asking.SILENT_S + 2.0), "its answer may matter"
        hung.is_silent = False
        await asyncio.sleep(PROBE_EVERY_S + PROBE_TIMEOUT_S)
        assert not directory.is_silent(hung.address)
        assert (await cluster_status(directory, 2.0, waits=False)).health == "ok"


async def test_a_member_that_takes_longer_than_a_short_look_is_not_taken_for_silent() -> None:
    cluster = ToldCluster()
    async with directory_of(cluster) as directory:
        busy = list(cluster.nodes.values())[2]
        busy.delay_s = 0.8
        assert (await cluster_status(directory, READY_S)).nodes[2].state == "suspect"
        assert not directory.is_silent(busy.address), "requests go there as before"
        assert (await cluster_status(directory, 2.0, waits=False)).health == "ok"


async def test_members_that_were_silent_are_all_waited_for_while_nobody_answers() -> None:
    cluster, loop = ToldCluster(), asyncio.get_running_loop()
    async with directory_of(cluster) as directory:
        for node in cluster.nodes.values():
            node.is_silent = True
        for _ in range(2):
            began = loop.time()
            with pytest.raises(Unavailable):
                await cluster_status(directory, 2.0, waits=False)
            assert loop.time() - began == pytest.approx(2.0)


def _ready_call(status: Callable[..., Awaitable[ClusterStatus]], **given: float) -> Any:
    return SimpleNamespace(client=SimpleNamespace(status=status), options=lambda name: given)


async def test_a_gateway_is_ready_while_one_member_hangs_and_takes_its_time_before_it_is_not() -> None:
    cluster, loop = ToldCluster(), asyncio.get_running_loop()
    async with directory_of(cluster) as directory:

        async def status(timeout: float = 5.0) -> ClusterStatus:
            return await cluster_status(directory, timeout, waits=False)

        call = _ready_call(status)
        hung, *others = cluster.nodes.values()
        hung.is_silent = True
        began = loop.time()
        assert (await get_ready(call)).status == 200
        assert loop.time() - began <= READY_S
        for node in others:
            node.delay_s = 2.0
        assert (await get_ready(call)).status == 200
        cluster._status = lambda name: StatusResponse(node=name, epoch=1, ranges_no_quorum=1)  # type: ignore[method-assign]
        with pytest.raises(HttpRefusal):
            await get_ready(call)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, [READY_S, None]),
        ({"timeout": 5.0}, [READY_S, 5.0]),
        ({"timeout": READY_S}, [READY_S]),
        ({"timeout": 0.2}, [0.2]),
    ],
)
async def test_a_gateway_takes_a_short_look_only_before_a_longer_one(
    given: dict[str, float], wanted: list[float | None]
) -> None:
    asked: list[float | None] = []

    async def status(timeout: float | None = None) -> ClusterStatus:
        asked.append(timeout)
        raise Unavailable("no member has answered")

    with pytest.raises(Unavailable):
        await get_ready(_ready_call(status, **given))
    assert asked == wanted
