"""A caller that still waits for a change of a keyspace is not bothered by one that came before (rule T12)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ringmill.client.administration.keyspaces import AsyncKeyspaces
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.router import Router
from ringmill.cluster.errors import WrongEpoch
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


class KeyspaceCluster(FakeCluster):
    """Its nodes change keyspaces as real ones do; `between` comes before the next change."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = LastChanges()
        self.changes.saw(self.topology)
        self.between: list[Topology] = []
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
        kind, _, _ = type(request).__name__.partition("Keyspace")
        self.asked.append((kind, request.epoch))
        following = self._following(request)
        if following is not None:
            name = request.settings.name if isinstance(request, pb.CreateKeyspaceRequest) else request.name
            self.changes.check(name, Epoch(request.epoch))
        self.become(following)
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


async def test_a_client_that_knows_no_topology_learns_it_before_it_makes_a_keyspace() -> None:
    cluster = KeyspaceCluster()
    async with keyspaces_of(cluster, learns=False) as keyspaces:
        await keyspaces.create("k")
    assert cluster.asked == [("Create", 1)]


async def test_a_node_that_refuses_on_and_on_is_told_in_the_end() -> None:
    cluster = KeyspaceCluster()
    for node in cluster.nodes.values():
        node.refusals = [WrongEpoch("changed meanwhile") for _ in range(100)]
    async with keyspaces_of(cluster) as keyspaces:
        try:
            await keyspaces.create("k")
        except WrongEpoch as error:
            assert error.outcome == "failed"
            assert len(error.detail["tried"]) == 2 * len(cluster.nodes)
            return
    raise AssertionError("it was made")
