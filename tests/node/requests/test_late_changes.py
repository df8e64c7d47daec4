"""Changes of keyspaces that lay at a node while others were made (rule T12)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.errors import WrongEpoch
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.wire.stubs.keyspaces_pb2 import (
    AlterKeyspaceRequest,
    CreateKeyspaceRequest,
    DropKeyspaceRequest,
    KeyspaceAnswer,
    KeyspaceSettings,
)
from ringmill.node.membership.epoch_proposer import _Attempt
from ringmill.node.services.keyspaces_service import KeyspacesService
from ringmill.node.services.table import Call
from tests.node.small_world import World

CREATE = CreateKeyspaceRequest(settings=KeyspaceSettings(name="k"))
DROP = DropKeyspaceRequest(name="k")


def alter(ttl_ms: int) -> AlterKeyspaceRequest:
    return AlterKeyspaceRequest(name="k", ttl_ms=ttl_ms)


async def ask(world: World, node: str, request: Any, *, epoch: int | None = None) -> KeyspaceAnswer:
    """As a client that knows this epoch; the newest one unless given."""
    message = type(request)()
    message.CopyFrom(request)
    message.epoch = newest(world).epoch if epoch is None else epoch
    service = KeyspacesService(world.nodes[node].membership)
    methods: dict[type[Any], Any] = {
        CreateKeyspaceRequest: service._create,
        AlterKeyspaceRequest: service._alter,
        DropKeyspaceRequest: service._drop,
    }
    return await world.on(node, methods[type(request)](message, Call(5.0)))


def newest(world: World) -> Topology:
    return max(
        (node.membership.topology.serving_topology() for node in world.nodes.values()), key=lambda t: t.epoch
    )


def hold(world: World, node: str, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Nothing that is asked of the node goes on before the event: it was stopped with it in its socket."""
    topology, goes_on = world.nodes[node].membership.topology, asyncio.Event()
    ask_newest = topology.newest

    async def held(within_s: float) -> Topology:
        await goes_on.wait()
        return await ask_newest(within_s)

    monkeypatch.setattr(topology, "newest", held)
    return goes_on


def test_a_create_that_lay_at_a_node_does_not_bring_back_what_was_dropped_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    async def story() -> None:
        goes_on = hold(world, "n2", monkeypatch)
        late = asyncio.create_task(ask(world, "n2", CREATE))
        await asyncio.sleep(0.1)
        assert (await ask(world, "n1", CREATE)).changed
        assert (await ask(world, "n1", DROP)).changed
        goes_on.set()
        with pytest.raises(WrongEpoch, match="asked for under epoch 1") as refused:
            await late
        assert refused.value.outcome == "failed"
        assert not newest(world).has_keyspace("k")
        assert (await ask(world, "n2", CREATE)).changed, "who asks again, and knows of the drop, is served"

    world.run(story())


def test_an_alter_that_lay_at_a_node_does_not_undo_what_was_altered_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    async def story() -> None:
        await ask(world, "n1", CREATE)
        goes_on = hold(world, "n2", monkeypatch)
        late = [asyncio.create_task(ask(world, "n2", each)) for each in (alter(1000), alter(2000), DROP)]
        await asyncio.sleep(0.1)
        assert (await ask(world, "n1", alter(1000))).changed
        assert (await ask(world, "n3", alter(2000))).changed
        goes_on.set()
        first, second, drop = await asyncio.gather(*late, return_exceptions=True)
        assert isinstance(first, WrongEpoch) and isinstance(drop, WrongEpoch), (first, drop)
        assert isinstance(second, KeyspaceAnswer) and not second.changed, "it is so already"
        assert newest(world).keyspace_named("k").ttl_ms == 2000

    world.run(story())


def test_a_proposer_that_was_stopped_in_its_rounds_does_not_go_on_after_later_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, decide = World(), _Attempt.decide

    async def story() -> None:
        await ask(world, "n1", CREATE)
        goes_on, mine = asyncio.Event(), world.nodes["n2"].membership.epochs

        async def stopped(attempt: _Attempt, current: Topology, wanted: Topology | None) -> Topology | None:
            if attempt._proposer is mine and wanted is not None:
                await goes_on.wait()
            return await decide(attempt, current, wanted)

        monkeypatch.setattr(_Attempt, "decide", stopped)
        late = asyncio.create_task(ask(world, "n2", alter(1000)))
        await asyncio.sleep(0.1)
        await ask(world, "n1", alter(2000))
        goes_on.set()
        with pytest.raises(WrongEpoch):
            await late
        assert newest(world).keyspace_named("k").ttl_ms == 2000

    world.run(story())


def test_a_node_that_has_missed_an_epoch_refuses_what_was_asked_for_before_it() -> None:
    """The documents on both sides of what it missed are alike, but for their epochs."""
    world = World(nodes=4)

    async def story() -> None:
        await ask(world, "n1", CREATE)
        before = newest(world).epoch
        for other in ("n1", "n2", "n3"):
            world.cut("n4", other)
        await ask(world, "n1", alter(1000))
        await ask(world, "n2", alter(0))
        for other in ("n1", "n2", "n3"):
            world.cut("n4", other, is_cut=False)
        with pytest.raises(WrongEpoch, match=f"no changes of keyspaces before {before + 2}"):
            await ask(world, "n4", alter(1000), epoch=before)
        assert newest(world).keyspace_named("k").ttl_ms == 0
        assert (await ask(world, "n4", alter(1000))).changed

    world.run(story())


def test_a_client_of_the_release_before_says_no_epoch_and_is_served_as_before() -> None:
    world = World()

    async def story() -> None:
        for request in (CREATE, alter(1000), DROP, CREATE):
            assert (await ask(world, "n2", request, epoch=0)).changed
            await ask(world, "n1", CreateKeyspaceRequest(settings=KeyspaceSettings(name="other")))

    world.run(story())
