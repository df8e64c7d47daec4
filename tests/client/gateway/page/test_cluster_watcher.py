"""Who has the live page open is told what is known, then what is new, by one look for all."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill.client.administration.moves_view import MovesView
from ringmill.client.administration.node_metrics import NodeMetrics
from ringmill.client.administration.ring_view import RingView
from ringmill.client.administration.status import ClusterStatus, NodeStatus, Ranges
from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.page import cluster_watcher
from ringmill.client.gateway.page.cluster_watcher import ClusterWatcher, PageMessage
from ringmill.client.jobs.job_values import JobList
from ringmill.cluster.errors import ClientClosed, Overloaded, PermissionDenied, RingmillError, Unavailable
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.cluster.wire.stubs.membership_pb2 import MetricSample

ALONE = first_topology("t", [Member(NodeId("n1"), DiskId("1" * 32), "h:1")], partitions=16, n=1, r=1, w=1)
STILL = MovesView(1, 0, 0, False, (), {}, {}, {}, ())


class Cluster:
    """Answers as a client would that may not ask for jobs."""

    def __init__(self) -> None:
        self.looks = 0
        self.is_gone = self.is_closed = False
        self.ring = SimpleNamespace(show=self._ring)
        self.members = SimpleNamespace(moves=self._moves)
        self.jobs = SimpleNamespace(list=self._refuse)

    async def status(self, *, timeout: float) -> ClusterStatus:
        self.looks += 1
        if self.is_closed:
            raise ClientClosed("this client is closed")
        if self.is_gone:
            raise Unavailable("nobody answers")
        node = NodeStatus(id="n1", address="127.0.0.1:1", state="up", membership="up", owns=16)
        return ClusterStatus("c", 1, 1, "ok", (), "n1", Ranges(16, 0, 0), (node,))

    async def metrics(self, *, timeout: float) -> None:
        raise PermissionDenied("it needs the role read")

    async def hot(self, *, status: ClusterStatus, timeout: float) -> None:
        assert status.nodes, "it need not be asked again"
        raise PermissionDenied("it needs the role read")

    async def _ring(self, *, status: ClusterStatus, timeout: float) -> RingView:
        return RingView(ALONE, (), {}, ())

    async def _moves(self, *, timeout: float) -> MovesView:
        return STILL

    async def _refuse(self) -> None:
        raise PermissionDenied("it needs the role jobs")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(cluster_watcher, "EVERY_S", 0.01)
    return Cluster()


def watcher_of(cluster: Cluster) -> ClusterWatcher:
    return ClusterWatcher(cast("AsyncClient", cluster), lambda: 1.0)


async def first(watcher: ClusterWatcher, count: int) -> list[PageMessage]:
    async with aclosing(watcher.subscribe()) as messages:
        found: list[Any] = []
        async for message in messages:
            found.append(message)
            if len(found) == count:
                return found
    raise AssertionError("it ended")


async def test_the_second_page_is_told_at_once_what_the_first_one_saw(cluster: Cluster) -> None:
    watcher = watcher_of(cluster)
    kinds = [each.kind for each in await first(watcher, 5)]
    assert kinds == ["history", "ring", "events", "live", "live"]
    told = await first(watcher, 3)
    assert [each.kind for each in told] == ["history", "ring", "live"]
    assert [each["text"] for each in told[0].body["events"]] == ["n1 is up"]
    assert told[2].body["jobs"] is None and told[2].body["hot"] is None
    await watcher.aclose()


async def test_whoever_comes_after_a_pause_is_told_nothing_old_as_new(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_watcher, "FRESH_S", 0.0)
    earlier = NodeMetrics("n1", 1.0, {})

    async def metrics(*, timeout: float) -> dict[str, NodeMetrics]:
        nonlocal earlier
        earlier = NodeMetrics("n1", earlier.clock_s + 3600, {})
        return {"n1": earlier}

    cluster.metrics = metrics  # type: ignore[method-assign, assignment]
    watcher = watcher_of(cluster)
    told = [each.body["pace"] for each in await first(watcher, 6) if each.kind == "live"]
    assert told[0] is None and told[1] is not None
    assert watcher._looking is not None
    await asyncio.wait([watcher._looking])
    again = await first(watcher, 3)
    assert [each.kind for each in again] == ["history", "ring", "live"]
    assert again[2].body["pace"] is None, "the pause is no span of now"
    assert cluster.looks >= 4, "and this is a new look"
    await watcher.aclose()


async def test_what_nodes_have_repaired_is_an_event(cluster: Cluster) -> None:
    counts = [5.0, 17.0, 17.0]

    async def metrics(*, timeout: float) -> dict[str, NodeMetrics]:
        count = counts.pop(0) if len(counts) > 1 else counts[0]
        return {"n1": NodeMetrics("n1", 1.0, {"repaired_objects_total": [MetricSample(value=count)]})}

    cluster.metrics = metrics  # type: ignore[method-assign, assignment]
    watcher = watcher_of(cluster)
    events = [each.body for each in await first(watcher, 7) if each.kind == "events"]
    assert [each["text"] for each in events[-1]] == ["n1: comparing moved 12 objects"]
    await watcher.aclose()


async def test_many_pages_cost_the_looks_of_one_and_none_when_all_are_closed(cluster: Cluster) -> None:
    watcher = watcher_of(cluster)
    await asyncio.gather(*(first(watcher, 6) for _ in range(20)))
    assert cluster.looks <= 6
    looking = watcher._looking
    assert looking is not None
    await asyncio.wait([looking])


async def test_a_cluster_that_is_gone_is_reported_and_looked_for_again(cluster: Cluster) -> None:
    watcher = watcher_of(cluster)
    cluster.is_gone = True
    told = await first(watcher, 2)
    assert told[1].kind == "trouble" and "nobody answers" in told[1].body["message"]
    assert [each.kind for each in watcher._known()] == ["history", "trouble"], "the next page, at once"
    cluster.is_gone = False
    assert "live" in [each.kind for each in await first(watcher, 6)]
    assert [each.kind for each in watcher._known()] == ["history", "ring", "live"]
    await watcher.aclose()


async def test_all_is_asked_at_once_as_one_member_that_hangs_holds_each_answer_up(cluster: Cluster) -> None:
    together = asyncio.Barrier(4)
    holders: list[tuple[Any, str]] = [
        (cluster, "status"), (cluster, "metrics"), (cluster.members, "moves"), (cluster.jobs, "list"),
    ]  # fmt: skip

    async def held(plain: Any, **given: Any) -> Any:
        async with together:
            return await plain(**given)

    for holder, name in holders:
        setattr(holder, name, partial(held, getattr(holder, name)))
    watcher = watcher_of(cluster)
    async with asyncio.timeout(10):
        assert "live" in [each.kind for each in await first(watcher, 4)]
    await watcher.aclose()


async def test_a_member_that_is_busy_takes_nothing_off_the_page_and_a_refusal_does(cluster: Cluster) -> None:
    outcomes: list[JobList | RingmillError] = [
        JobList((), (), 1), Overloaded("its gate is full"), PermissionDenied("it needs the role jobs"),
    ]  # fmt: skip

    async def list_jobs() -> JobList:
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        if isinstance(outcome, RingmillError):
            raise outcome
        return outcome

    cluster.jobs.list = list_jobs
    watcher = watcher_of(cluster)
    told = [each.body["jobs"] for each in await first(watcher, 6) if each.kind == "live"]
    assert told == [[], [], None]
    await watcher.aclose()


async def test_pages_end_with_the_client_that_looks_for_them(cluster: Cluster) -> None:
    watcher = watcher_of(cluster)
    messages = watcher.subscribe()
    await anext(messages)
    cluster.is_closed = True
    async with asyncio.timeout(10):
        assert "trouble" not in [each.kind async for each in messages]
    assert not watcher.has_lookers


async def test_a_page_that_reads_nothing_is_let_go(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_watcher, "MOST_WAITING", 4)
    watcher = watcher_of(cluster)
    slow = watcher.subscribe()
    await anext(slow)
    cluster.is_gone = True  # each look is one message more
    assert watcher._looking is not None
    async with asyncio.timeout(10):
        await asyncio.wait([watcher._looking])
        assert len([each async for each in slow]) <= 5
