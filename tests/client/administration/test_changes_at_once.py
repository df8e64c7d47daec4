"""A caller that still waits for a change of a keyspace is not bothered by one that came before (rule T12)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest

from ringmill.client.administration.keyspaces import AsyncKeyspaces
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.router import Router
from ringmill.cluster.errors import DeadlineExceeded, Unavailable, WrongEpoch
from ringmill.cluster.ids import Epoch, KeyspaceId
from ringmill.cluster.ring.keyspaces.keyspace_changes import (
    KeyspaceChanges,
    NewKeyspace,
    altered,
    created,
    dropped,
)
from ringmill.cluster.ring.keyspaces.last_changes import LastChanges
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.wire.stubs import keyspaces_pb2 as pb
from tests.client.routing.test_router import FakeCluster, SteadyEntropy

Change: TypeAlias = Callable[[Topology], Topology | None]


class KeyspaceCluster(FakeCluster):
    """Its nodes change keyspaces as real ones do; `between` comes before the next change, `rivals` before one
    each.  When there are `later` ones, the next change is made, its answer is lost, and they follow."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = LastChanges()
        self.changes.saw(self.topology)
        self.between: list[Topology] = []
        self.rivals: list[Change] = []
        self.later: list[Change] | None = None
        self.asked: list[tuple[str, int]] = []

    def become(self, following: Topology | None) -> None:
        if following is not None:
            self.topology = following
            self.changes.saw(following)

    def answer(self, request: Any) -> Any:
        if isinstance(request, pb.ListKeyspacesRequest):
            listed = [
                pb.KeyspaceSettings(name=each.name, made_in=each.id.epoch, ordinal=each.id.ordinal)
                for each in self.topology.keyspaces
            ]
            return pb.ListKeyspacesResponse(epoch=self.topology.epoch, keyspaces=listed)
        if not isinstance(
            request, pb.CreateKeyspaceRequest | pb.AlterKeyspaceRequest | pb.DropKeyspaceRequest
        ):
            return super().answer(request)
        for earlier in self.between:
            self.become(earlier)
        self.between = []
        if self.rivals:
            self.become(self.rivals.pop()(self.topology))
        kind, _, _ = type(request).__name__.partition("Keyspace")
        self.asked.append((kind, request.epoch))
        following = self._following(request)
        if following is not None:
            name = request.settings.name if isinstance(request, pb.CreateKeyspaceRequest) else request.name
            self.changes.check(name, Epoch(request.epoch))
        self.become(following)
        if self.later is not None:
            for change in self.later:
                self.become(change(self.topology))
            self.later = None
            raise Unavailable("the connection broke", outcome="unknown")
        return pb.KeyspaceAnswer(epoch=self.topology.epoch, changed=following is not None)

    def _following(self, request: Any) -> Topology | None:
        if isinstance(request, pb.CreateKeyspaceRequest):
            return created(self.topology, NewKeyspace(request.settings.name, ttl_ms=request.settings.ttl_ms))
        meant = KeyspaceId(Epoch(request.made_in), request.ordinal)
        if isinstance(request, pb.AlterKeyspaceRequest):
            return altered(self.topology, request.name, KeyspaceChanges(ttl_ms=request.ttl_ms), meant)
        return dropped(self.topology, request.name, may_be_done=request.attempt > 0, meant=meant)


@asynccontextmanager
async def keyspaces_of(cluster: FakeCluster, *, learns: bool = True) -> AsyncIterator[AsyncKeyspaces]:
    async with Directory(list(cluster.nodes)[:1], cluster.dial) as directory:
        if learns:
            await directory.learn(1.0)
        yield AsyncKeyspaces(Router(directory, SteadyEntropy(), 1.0))


def sure(topology: Topology | None) -> Topology:
    assert topology is not None
    return topology


def to_ttl(ttl_ms: int) -> Change:
    return lambda topology: altered(topology, "k", KeyspaceChanges(ttl_ms=ttl_ms))


async def test_a_create_goes_through_after_a_drop_that_its_client_had_not_heard_of() -> None:
    cluster = KeyspaceCluster()
    async with keyspaces_of(cluster) as keyspaces:
        made = sure(created(cluster.topology, NewKeyspace("k")))
        cluster.between = [made, sure(dropped(made, "k", may_be_done=False))]
        assert (await keyspaces.create("k")).changed
    assert cluster.asked == [("Create", 1), ("Create", 3)]
    assert cluster.topology.has_keyspace("k")


async def test_of_two_who_alter_at_once_the_later_one_wins_and_neither_is_refused() -> None:
    cluster = KeyspaceCluster()
    cluster.become(created(cluster.topology, NewKeyspace("k")))
    async with keyspaces_of(cluster) as keyspaces:
        cluster.between = [sure(altered(cluster.topology, "k", KeyspaceChanges(ttl_ms=1000)))]
        assert (await keyspaces.alter("k", ttl=2)).changed
    assert cluster.asked == [("Alter", 2), ("Alter", 3)]
    assert cluster.topology.keyspace_named("k").ttl_ms == 2000


async def test_a_drop_goes_through_after_an_alter_that_its_client_had_not_heard_of() -> None:
    cluster = KeyspaceCluster()
    cluster.become(created(cluster.topology, NewKeyspace("k")))
    async with keyspaces_of(cluster) as keyspaces:
        cluster.between = [sure(altered(cluster.topology, "k", KeyspaceChanges(ttl_ms=1000)))]
        await keyspaces.drop("k")
    assert cluster.asked == [("Drop", 2), ("Drop", 3)]
    assert not cluster.topology.has_keyspace("k")


async def test_an_alter_that_was_made_is_not_made_again_over_one_that_came_after_it() -> None:
    cluster = KeyspaceCluster()
    cluster.become(created(cluster.topology, NewKeyspace("k")))
    async with keyspaces_of(cluster) as keyspaces:
        cluster.later = [to_ttl(1000)]
        with pytest.raises(Unavailable) as caught:
            await keyspaces.alter("k", ttl=2)
    assert caught.value.outcome == "unknown"
    assert cluster.topology.keyspace_named("k").ttl_ms == 1000
    assert {epoch for _, epoch in cluster.asked} == {2}


async def test_a_create_that_was_made_does_not_bring_back_what_was_dropped_after_it() -> None:
    cluster = KeyspaceCluster()
    async with keyspaces_of(cluster) as keyspaces:
        cluster.later = [lambda topology: dropped(topology, "k", may_be_done=False)]
        with pytest.raises(Unavailable) as caught:
            await keyspaces.create("k")
    assert caught.value.outcome == "unknown"
    assert not cluster.topology.has_keyspace("k")


async def test_a_change_whose_answer_was_lost_is_found_as_wanted() -> None:
    cluster = KeyspaceCluster()
    async with keyspaces_of(cluster) as keyspaces:
        cluster.later = []
        assert not (await keyspaces.create("k")).changed
        cluster.later = []
        assert not (await keyspaces.alter("k", ttl=2)).changed
    assert cluster.asked == [("Create", 1), ("Create", 1), ("Alter", 2), ("Alter", 2)]


async def test_a_drop_whose_answer_was_lost_leaves_alone_what_was_made_after_it() -> None:
    cluster = KeyspaceCluster()
    cluster.become(created(cluster.topology, NewKeyspace("k")))
    async with keyspaces_of(cluster) as keyspaces:
        cluster.later = [lambda topology: created(topology, NewKeyspace("k"))]
        await keyspaces.drop("k")
    assert cluster.asked == [("Drop", 2), ("Drop", 4)]
    assert cluster.topology.keyspace_named("k").id.epoch == 4


async def test_an_alter_is_made_in_the_end_however_many_come_before_it() -> None:
    cluster = KeyspaceCluster()
    cluster.become(created(cluster.topology, NewKeyspace("k")))
    async with keyspaces_of(cluster) as keyspaces:
        cluster.rivals = [to_ttl(1000 + i) for i in range(2 * len(cluster.nodes) + 1)]
        assert (await keyspaces.alter("k", ttl=2)).changed
    assert cluster.topology.keyspace_named("k").ttl_ms == 2000


async def test_a_client_that_knows_no_topology_learns_it_before_it_makes_a_keyspace() -> None:
    cluster = KeyspaceCluster()
    async with keyspaces_of(cluster, learns=False) as keyspaces:
        await keyspaces.create("k")
    assert cluster.asked == [("Create", 1)]


async def test_a_node_that_refuses_on_and_on_is_reported_in_the_end() -> None:
    cluster = KeyspaceCluster()
    for node in cluster.nodes.values():
        node.refusals = [WrongEpoch("changed meanwhile") for _ in range(100)]
    async with keyspaces_of(cluster) as keyspaces:
        try:
            await keyspaces.create("k", timeout=0.2)
        except (WrongEpoch, DeadlineExceeded) as error:  # as its time ends between two tries or in one
            assert error.outcome == "failed"
            return
    raise AssertionError("it was made")
