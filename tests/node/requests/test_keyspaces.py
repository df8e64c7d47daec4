"""Keyspaces that are made while requests run: any node serves them, with their own defaults."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.consensus.register import Incr
from ringmill.cluster.errors import Conflict, InvalidArgument, Unavailable
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.ring.keyspaces.keyspace_changes import (
    KeyspaceChanges,
    NewKeyspace,
    altered,
    created,
    dropped,
)
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.cluster.wire.stubs.keyspaces_pb2 import (
    AlterKeyspaceRequest,
    DropKeyspaceRequest,
    KeyspaceAnswer,
)
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead
from ringmill.node.requests.request_values import ReadRequest, ReadResult
from ringmill.node.requests.scans.scan_values import ScanRequest, ScanResult
from ringmill.node.services.keyspaces_service import KeyspacesService
from ringmill.node.services.table import Call
from tests.node.one_key import values, write_request
from tests.node.small_world import World


async def change(world: World, node: str, make: Any) -> Topology:
    told = await world.on(node, world.nodes[node].membership.epochs.change(make, 5.0))
    return told.topology


async def make(world: World, node: str, name: str, **settings: Any) -> Topology:
    return await change(world, node, lambda topology, _: created(topology, NewKeyspace(name, **settings)))


async def put(
    world: World, node: str, space: str, value: bytes | None, key: bytes = b"key", **given: Any
) -> Any:
    request, requests = write_request(space, key, value, **given), world.nodes[node].requests
    return await world.on(node, requests.write(request))


async def get(world: World, node: str, space: str, key: bytes = b"key") -> ReadResult:
    return await world.on(node, world.nodes[node].requests.get(ReadRequest(space, key, ReadOptions())))


def test_a_new_keyspace_serves_at_once_through_a_node_that_has_not_heard_of_it() -> None:
    world = World(nodes=4)

    async def story() -> None:
        for other in ("n1", "n2", "n3"):
            world.cut("n4", other)
        await make(world, "n1", "carts")
        for other in ("n1", "n2", "n3"):
            world.cut("n4", other, is_cut=False)
        assert world.nodes["n4"].membership.topology.epoch == 1
        await put(world, "n4", "carts", b"v")
        assert world.nodes["n4"].membership.topology.epoch == 2
        for node in world.names:
            assert values(await get(world, node, "carts")) == [b"v"]
            assert values(await get(world, node, "")) == []

    world.run(story())


def test_whoever_cannot_ask_does_not_say_that_there_is_no_such_keyspace() -> None:
    world = World(nodes=4)

    async def story() -> None:
        with pytest.raises(InvalidArgument, match="no keyspace 'carts'"):
            await get(world, "n4", "carts")
        for other in ("n1", "n2", "n3"):
            world.cut("n4", other)
        with pytest.raises(Unavailable, match="has not heard of a keyspace 'carts'") as refused:
            await get(world, "n4", "carts")
        assert refused.value.outcome == "failed"

    world.run(story())


def test_a_node_that_cannot_ask_says_so_while_its_caller_still_waits() -> None:
    """A client gives one attempt of a read a quarter of its deadline."""
    world = World(nodes=4)

    async def story() -> None:
        for other in ("n1", "n2", "n3"):
            world.cut("n4", other)
        begun, request = world.loop.time(), ReadRequest("carts", b"key", left_s=1.25)
        with pytest.raises(Unavailable, match="has not heard of a keyspace 'carts'"):
            await world.on("n4", world.nodes["n4"].requests.get(request))
        assert world.loop.time() - begun < 1.25

    world.run(story())


def test_a_scan_through_a_node_that_has_not_heard_of_a_keyspace_asks_before_it_says_no() -> None:
    world = World(nodes=4)

    async def scan() -> ScanResult:
        return await world.on("n4", world.nodes["n4"].requests.scan(ScanRequest("carts")))

    async def story() -> None:
        with pytest.raises(InvalidArgument, match="no keyspace 'carts'"):
            await scan()
        for other in ("n1", "n2", "n3"):
            world.cut("n4", other)
        await make(world, "n1", "carts")
        with pytest.raises(Unavailable, match="has not heard of a keyspace 'carts'"):
            await scan()
        for other in ("n1", "n2", "n3"):
            world.cut("n4", other, is_cut=False)
        assert (await scan()).items == ()

    world.run(story())


def test_what_a_request_does_not_say_its_keyspace_does() -> None:
    world = World()

    async def story() -> None:
        await make(world, "n1", "brief", w=1, r=3, ttl_ms=60_000, durability="memory")
        receipt = await put(world, "n2", "brief", b"v")
        assert receipt.w == 1 and not receipt.is_weak
        assert receipt.replicas[0].durability is Durability.MEMORY
        said = await put(world, "n2", "brief", b"v", level="all", durability="sync")
        assert said.w == 3 and {ack.durability for ack in said.replicas} == {Durability.SYNCED}
        assert values(await get(world, "n3", "brief")) == [b"v"]
        await asyncio.sleep(61)
        assert values(await get(world, "n3", "brief")) == []

    world.run(story())


def test_an_altered_default_is_obeyed_by_requests_that_come_after() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", "", b"stays")
        await change(
            world, "n2", lambda topology, _: altered(topology, "default", KeyspaceChanges(ttl_ms=1000))
        )
        await put(world, "n1", "", b"goes", b"other")
        await asyncio.sleep(2)
        assert values(await get(world, "n3", "")) == [b"stays"]
        assert values(await get(world, "n3", "", b"other")) == []

    world.run(story())


def test_the_last_writer_wins_where_the_keyspace_says_so() -> None:
    world = World()

    async def story() -> None:
        await make(world, "n1", "cache", policy="lww")
        await put(world, "n1", "cache", b"first")
        seen = (await get(world, "n1", "cache")).context
        await put(world, "n1", "cache", b"second", context=seen)
        await asyncio.sleep(0.01)
        await put(world, "n2", "cache", b"third", context=seen)
        for node in world.names:
            found = await get(world, node, "cache")
            assert values(found) == [b"third"]
        await put(world, "n3", "cache", b"blind", is_blind=True)
        assert values(await get(world, "n1", "cache")) == [b"blind"]
        await put(world, "n1", "cache", None)
        assert values(await get(world, "n2", "cache")) == []

    world.run(story())


def test_a_scan_shows_the_last_writer_where_the_keyspace_says_so() -> None:
    world = World()

    async def scanned() -> list[tuple[bytes, list[bytes | None]]]:
        found = await world.on("n1", world.nodes["n1"].requests.scan(ScanRequest("cache")))
        return [(item.key, [each.value for each in item.siblings]) for item in found.items]

    async def story() -> None:
        await make(world, "n1", "cache", policy="lww")
        await put(world, "n1", "cache", b"first")
        seen = (await get(world, "n1", "cache")).context
        await put(world, "n1", "cache", b"second", context=seen)
        await asyncio.sleep(0.01)
        await put(world, "n2", "cache", b"third", context=seen)
        assert await scanned() == [(b"key", [b"third"])]
        await asyncio.sleep(0.01)
        await put(world, "n1", "cache", None, context=seen)
        assert values(await get(world, "n2", "cache")) == []
        assert await scanned() == []

    world.run(story())


def test_a_dropped_keyspace_cannot_be_reached_and_its_name_comes_back_empty() -> None:
    world = World()

    async def story() -> None:
        await make(world, "n1", "carts")
        await put(world, "n1", "carts", b"v")
        await change(world, "n2", lambda topology, _: dropped(topology, "carts", may_be_done=False))
        for node in world.names:
            with pytest.raises(InvalidArgument, match="no keyspace 'carts'"):
                await get(world, node, "carts")
        await make(world, "n3", "carts")
        assert values(await get(world, "n1", "carts")) == []

    world.run(story())


def test_a_drop_that_lies_at_a_node_leaves_alone_what_was_made_anew_under_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client was answered through another node meanwhile; so it is with a change of a default."""
    world = World()
    goes_on = asyncio.Event()

    async def ask(node: str, message: DropKeyspaceRequest | AlterKeyspaceRequest) -> KeyspaceAnswer:
        service = KeyspacesService(world.nodes[node].membership)
        call = Call(5.0)
        if isinstance(message, DropKeyspaceRequest):
            return await world.on(node, service._drop(message, call))
        return await world.on(node, service._alter(message, call))

    async def story() -> None:
        meant = (await make(world, "n1", "carts")).keyspace_named("carts").id
        drop = DropKeyspaceRequest(name="carts", made_in=meant.epoch, ordinal=meant.ordinal)
        alter = AlterKeyspaceRequest(name="carts", made_in=meant.epoch, ordinal=meant.ordinal, ttl_ms=5000)
        topology = world.nodes["n2"].membership.topology
        newest = topology.newest

        async def held(within_s: float) -> Topology:
            await goes_on.wait()
            return await newest(within_s)

        monkeypatch.setattr(topology, "newest", held)
        late = [asyncio.create_task(ask("n2", drop)), asyncio.create_task(ask("n2", alter))]
        await asyncio.sleep(0.2)
        again = DropKeyspaceRequest()
        again.CopyFrom(drop)
        again.attempt = 1
        assert (await ask("n1", again)).changed
        anew = (await make(world, "n1", "carts")).keyspace_named("carts")
        goes_on.set()
        for told in await asyncio.gather(*late, return_exceptions=True):
            assert isinstance(told, Conflict), told
        done = await ask("n3", again)
        assert not done.changed and not done.HasField("settings")
        assert world.nodes["n1"].membership.topology.serving_topology().keyspace_named("carts") == anew
        assert (await ask("n3", DropKeyspaceRequest(name="carts"))).changed, "a former client names no id"

    world.run(story())


def test_hints_of_a_dropped_keyspace_are_given_up() -> None:
    world = World()

    async def story() -> None:
        await make(world, "n1", "carts")
        world.kill("n3")
        world.seen("n3", "down")
        await put(world, "n1", "carts", b"v")
        await put(world, "n1", "", b"kept")
        await world.until(lambda: world.nodes["n1"].hints.total == 2)
        await change(world, "n2", lambda topology, _: dropped(topology, "carts", may_be_done=False))
        await world.start("n3")
        world.seen("n3", "up")
        await world.until(lambda: world.nodes["n1"].hints.total == 0)
        assert world.nodes["n1"].delivery.refused == 0

    world.run(story())


def test_registers_live_in_any_keyspace_of_their_kind() -> None:
    world = World()

    async def incr(node: str, space: str) -> int | None:
        request = ChangeRequest(RegisterRead(space, b"hits", 3), Incr(1), None)
        return (await world.on(node, world.nodes[node].requests.change_register(request))).number

    async def story() -> None:
        await make(world, "n1", "counters", kind="registers")
        assert [await incr("n2", "counters"), await incr("n3", "counters")] == [1, 2]
        assert await incr("n1", "") == 1
        with pytest.raises(InvalidArgument, match="holds registers"):
            await put(world, "n1", "counters", b"v")
        with pytest.raises(InvalidArgument, match="cas and incr need"):
            await incr("n1", "default")

    world.run(story())
