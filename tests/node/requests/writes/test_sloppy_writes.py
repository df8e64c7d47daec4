"""Writes and reads of a sloppy keyspace: who stands in for owners, and what the receipt says of them."""

from __future__ import annotations

from typing import Any

import pytest

from ringmill.cluster.errors import QuorumNotReached, RingmillError, WrongEpoch
from ringmill.cluster.ids import KeyspaceId, NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.cluster.quorum.receipt import Durability, QuorumAck, QuorumReceipt, Role
from ringmill.cluster.ring.topology import KeyspaceEntry
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.node.node_options import HintOptions, NodeOptions
from ringmill.node.replica.fallbacks.fallback_messages import KeepHint
from ringmill.node.replica.fallbacks.fallback_serving import FallbackServing
from ringmill.node.replica.routes import Routes
from ringmill.node.requests.request_values import ReadRequest, ReadResult, WatchRequest
from ringmill.node.storage.storage_errors import StorageFailed
from tests.node.one_key import values, write_request
from tests.node.small_world import World

LOOSE = KeyspaceEntry(KeyspaceId(1, 2), "loose", quorum="sloppy")
KEY = b"{k}"


def a_world(**given: Any) -> World:
    return World(5, keyspaces=[LOOSE], **given)


def places(world: World) -> tuple[list[NodeId], list[NodeId]]:
    """Owners and fallbacks of the key."""
    topology = world.topology
    partition = topology.partition_of(LOOSE.id, KEY)
    return list(topology.owners(partition)), list(topology.fallbacks(partition))


async def put(world: World, at: str, value: bytes, keyspace: str = "loose", **given: Any) -> QuorumReceipt:
    request = write_request(keyspace, KEY, value, **given)
    return await world.on(at, world.nodes[at].requests.write(request))


async def get(world: World, at: str, level: str = "", timeout_s: float = 0.0) -> ReadResult:
    request = ReadRequest("loose", KEY, ReadOptions(level, timeout_s))
    return await world.on(at, world.nodes[at].requests.get(request))


def fallbacks_of(receipt: QuorumReceipt) -> list[QuorumAck]:
    return [ack for ack in receipt.replicas if ack.role is Role.FALLBACK]


def test_with_two_owners_killed_fallbacks_stand_in_and_a_strict_write_fails() -> None:
    world = a_world()
    (a, b, c), (d, e) = places(world)

    async def story() -> None:
        world.kill(b)
        world.kill(c)
        with pytest.raises(QuorumNotReached):
            await put(world, a, b"strict", keyspace="default")
        receipt = await put(world, a, b"v")
        assert QuorumAck(a, Role.OWNER, Durability.SYNCED) in receipt.replicas
        stand_ins = fallbacks_of(receipt)
        assert stand_ins and {ack.node for ack in stand_ins} <= {d, e}
        assert all(ack.durability is Durability.SYNCED for ack in stand_ins)
        assert {ack.stands_for for ack in stand_ins} <= {b, c}
        assert receipt.is_weak
        await world.until(lambda: {d, e} == {n for n in (d, e) if world.nodes[n].hints.total == 1})
        assert world.nodes[a].hints.total == 2  # of the strict write alone, for two owners
        world.kill(d)
        world.kill(e)
        for name in (b, c, d, e):
            await world.start(name)
        await world.until(lambda: not any(world.nodes[n].hints.total for n in (d, e)))
        for name in (b, c):
            assert values(await get(world, name, level="1")) == [b"v"]

    world.run(story())


def test_all_seats_may_be_those_of_fallbacks_but_the_coordinators() -> None:
    world = a_world()
    (a, b, c), (d, e) = places(world)

    async def story() -> None:
        for name in (b, c):
            world.kill(name)
            world.seen(name, "down")
        receipt = await put(world, a, b"v", level="all")
        assert {(ack.node, ack.stands_for) for ack in fallbacks_of(receipt)} in (
            {(d, b), (e, c)},
            {(d, c), (e, b)},
        )
        with pytest.raises(QuorumNotReached) as lost:
            world.seen(d, "down")
            await put(world, a, b"w", level="all", timeout_s=1.0)
        assert lost.value.acked == [a, e]

    world.run(story())


def test_a_silent_owner_is_stood_in_for() -> None:
    world = a_world()
    (a, b, c), _ = places(world)

    async def story() -> None:
        world.cut(a, b)
        world.cut(a, c)
        began = world.loop.time()
        receipt = await put(world, a, b"v")
        assert world.loop.time() - began < 1.0
        assert len({ack.node for ack in receipt.replicas if ack.role is not Role.HINTED}) >= 2
        assert fallbacks_of(receipt)

    world.run(story())


def test_a_fallback_whose_disk_fails_or_whose_hints_are_full_does_not_count() -> None:
    world = a_world(options=NodeOptions(hints=HintOptions(most_bytes=1)))
    (a, b, c), (d, e) = places(world)

    async def story() -> None:
        world.kill(b)
        world.kill(c)
        with pytest.raises(QuorumNotReached) as lost:
            await put(world, a, b"v", timeout_s=2.0)
        assert lost.value.acked == [a]
        assert world.nodes[d].hints.total == world.nodes[e].hints.total == 0

    world.run(story())


def test_the_next_fallback_takes_what_the_first_one_cannot() -> None:
    world = a_world()
    (a, b, _), (d, e) = places(world)

    async def story() -> None:
        world.kill(b)
        world.nodes[d].engine.failure = StorageFailed("000007.log: I/O error")
        receipt = await put(world, a, b"v", level="all")
        assert [(ack.node, ack.stands_for) for ack in fallbacks_of(receipt)] == [(e, b)]
        assert not receipt.is_weak  # two owners, and w of the keyspace is 2

    world.run(story())


def test_reads_ask_fallbacks_when_owners_do_not_answer() -> None:
    world = a_world()
    (a, b, c), (d, e) = places(world)

    async def story() -> None:
        for name in (b, c):
            world.kill(name)
            world.seen(name, "down")
        await put(world, a, b"v", level="all")
        read = await get(world, a)
        assert values(read) == [b"v"] and read.is_weak
        assert a in read.answered and {d, e} & {*read.answered}
        world.kill(a)
        world.seen(a, "down")
        read = await get(world, d)  # no owner is there: both hold it
        assert values(read) == [b"v"] and read.is_weak and {*read.answered} == {d, e}
        with pytest.raises(RingmillError) as refused:
            await put(world, d, b"w", timeout_s=1.0)
        assert refused.value.outcome == "failed"

    world.run(story())


def test_with_all_owners_up_nobody_else_is_asked() -> None:
    world = a_world()
    (a, _, c), _ = places(world)

    async def story() -> None:
        receipt = await put(world, a, b"v")
        assert {ack.role for ack in receipt.replicas} == {Role.OWNER} and not receipt.is_weak
        read = await get(world, c)
        assert values(read) == [b"v"] and not read.is_weak

    world.run(story())


def test_an_owner_does_not_stand_in_and_nobody_stands_in_for_a_fallback() -> None:
    world = a_world()
    (a, b, _), (d, e) = places(world)

    async def story() -> None:
        await put(world, a, b"v", level="all")
        object_bytes = await world.on(a, _encoded(world, a))
        for at, owner in ((b, a), (d, e)):
            node = world.nodes[at]
            routes = Routes(at, node.membership.topology)
            serving = FallbackServing(routes=routes, hints=node.hints, hybrid=node.hybrid)
            body = KeepHint(world.topology.epoch, LOOSE.id, KEY, owner, object_bytes).encode()
            with pytest.raises(WrongEpoch):
                await world.on(at, serving.keep(Incoming(a, "hint.keep", body, 1e9, Priority.WRITE)))
            assert node.hints.total == 0

    world.run(story())


async def _encoded(world: World, at: NodeId) -> bytes:
    routes = Routes(at, world.nodes[at].membership.topology)
    route = await routes.by_name("loose", KEY, world.topology.epoch, 1.0)
    encoded = await world.nodes[at].objects.read_synced(route.place)
    assert decode_object(encoded).siblings
    return encoded


def test_a_watch_tells_what_fallbacks_hold_and_waits_for_it_while_they_are_away() -> None:
    world = a_world()
    (a, b, c), fallbacks = places(world)

    async def watch(at: str, after: bytes = b"") -> ReadResult | None:
        request = WatchRequest("loose", KEY, after, ReadOptions("", 1.0), connection="c")
        return await world.on(at, world.nodes[at].requests.watch(request))

    async def story() -> None:
        for name in (b, c):
            world.kill(name)
            world.seen(name, "down")  # by those who keep its hints, to the end
        await put(world, a, b"v")
        told = await watch(a)
        assert told is not None and values(told) == [b"v"] and told.is_weak
        for name in (a, *fallbacks):
            world.kill(name)
        for name in (b, c):
            await world.start(name)
        with pytest.raises(QuorumNotReached, match="the session has seen"):
            await watch(b, told.context)
        await world.start(a)
        assert await watch(b, told.context) is None

    world.run(story())
