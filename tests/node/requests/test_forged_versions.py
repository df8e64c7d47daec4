"""Objects and contexts that name writes which nobody has made: they erase nothing and block nothing."""

from __future__ import annotations

import pytest

from ringmill.cluster.errors import InvalidArgument, ProtocolMismatch, QuorumNotReached, RingmillError
from ringmill.cluster.ids import Actor, Epoch, NodeId
from ringmill.cluster.ports import Priority
from ringmill.cluster.quorum.receipt import Durability, QuorumReceipt
from ringmill.cluster.versions import context_token
from ringmill.cluster.versions.context_token import NO_SECRET, ContextSeal, ContextToken, blind_token
from ringmill.cluster.versions.dots import VersionVector
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.cluster.versions.objects import StoredObject
from ringmill.node.replica.replica_messages import APPLY, DELIVER, Apply, Deliver, DeliverAnswer, HintItem
from tests.node.one_key import get, put, values
from tests.node.small_world import World


def forged(receipt: QuorumReceipt, count: int) -> StoredObject:
    """An object without siblings that claims to have replaced the writes of this actor up to `count`."""
    return StoredObject(VersionVector(((receipt.dot.actor, count),)))


async def send(world: World, to: str, told: StoredObject) -> None:
    body = Apply(Epoch(1), world.topology.keyspaces[0].id, b"key", Durability.SYNCED, encode_object(told))
    await world.on(
        "n3" if to != "n3" else "n2",
        world.nodes["n3" if to != "n3" else "n2"].transport.call(
            NodeId(to), APPLY, body.encode(), timeout_s=1.0, priority=Priority.WRITE
        ),
    )


def test_a_count_that_no_actor_can_have_is_refused_by_every_owner() -> None:
    world = World()

    async def story() -> None:
        receipt = await put(world, "n1", b"kept", level="all")
        for name in world.names:
            with pytest.raises(ProtocolMismatch, match="no actor has counted to"):
                await send(world, name, forged(receipt, 1 << 63))
        for name in world.names:
            assert values(await get(world, name)) == [b"kept"]
            await put(world, name, b"kept")

    world.run(story())


def test_an_owner_refuses_what_names_its_own_writes_that_it_has_not_made() -> None:
    world = World()

    async def story() -> None:
        receipt = await put(world, "n1", b"kept", level="all")
        told = forged(receipt, receipt.dot.counter + 1)
        with pytest.raises(ProtocolMismatch, match="which this node has not made"):
            await send(world, "n1", told)
        item = HintItem(world.topology.keyspaces[0].id, b"key", encode_object(told))
        answer = await world.on(
            "n2",
            world.nodes["n2"].transport.call(
                NodeId("n1"),
                DELIVER,
                Deliver(Epoch(1), (item,)).encode(),
                timeout_s=1.0,
                priority=Priority.REPAIR,
            ),
        )
        assert "has not made" in DeliverAnswer.decode(answer, 1).refusals[0]
        assert values(await get(world, "n1", level="1")) == [b"kept"]
        await send(world, "n1", forged(receipt, receipt.dot.counter))  # it has made that one

    world.run(story())


def test_a_reader_takes_no_answer_that_names_its_own_writes_that_it_has_not_made() -> None:
    world = World()

    async def story() -> None:
        receipt = await put(world, "n1", b"kept", level="all")
        for name in ("n2", "n3"):
            await send(world, name, forged(receipt, receipt.dot.counter + 9))
        with pytest.raises(QuorumNotReached, match="which this node has not made"):
            await get(world, "n1")  # an error, never an absence
        assert values(await get(world, "n1", level="1")) == [b"kept"]

    world.run(story())


def test_forged_contexts_do_not_make_an_object_grow_without_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each names other actors, and few enough by itself; an honest one goes on being taken."""
    world = World()
    monkeypatch.setattr(context_token, "MOST_TOLD", 1 << 20)  # a forger names more than a node does (V12)

    async def story() -> None:
        keyspace = world.topology.keyspaces[0].id
        taken = 0
        with pytest.raises(InvalidArgument, match="the key would name 3001 actors, the limit is 3000"):
            for number in range(10):
                names = (Actor(f"n{number}#{i}") for i in range(1000, 1375))
                context = ContextToken(VersionVector.of((name, 1) for name in names))
                await put(world, "n1", b"v%d" % number, context=NO_SECRET.token(context, keyspace, b"key"))
                taken += 1
        assert taken == 7, "the eighth one and the actor of the node are one too many"
        many = ContextToken(VersionVector.of((Actor(f"n20#{i}"), 1) for i in range(500)))
        with pytest.raises(QuorumNotReached):  # an owner has to know each of five hundred (V12)
            await put(world, "n1", b"v", context=NO_SECRET.token(many, keyspace, b"key"))
        honest = (await get(world, "n1")).context
        await put(world, "n1", b"honest", context=honest)
        assert values(await get(world, "n2")) == [b"honest"]
        too_many = ContextToken(VersionVector.of((Actor(f"{i:x}"), 1) for i in range(3001)))
        with pytest.raises(InvalidArgument, match="it covers 3001 actors, the limit is 3000"):
            await put(world, "n1", b"v", context=NO_SECRET.token(too_many, keyspace, b"key"))

    world.run(story())


def test_a_context_that_no_read_has_handed_out_is_refused_and_changes_nothing() -> None:
    world = World()

    async def story() -> None:
        receipt = await put(world, "n1", b"kept", level="all")
        ahead = VersionVector(((receipt.dot.actor, receipt.dot.counter + 1),))
        token = NO_SECRET.token(ContextToken(ahead), world.topology.keyspaces[0].id, b"key")
        with pytest.raises(InvalidArgument, match="which this node has not made"):
            await put(world, "n1", b"lost", context=token)
        with pytest.raises(RingmillError):
            absurd = VersionVector(((Actor("n2#1.0"), 1 << 60),))
            await put(
                world,
                "n1",
                b"lost",
                context=NO_SECRET.token(ContextToken(absurd), world.topology.keyspaces[0].id, b"key"),
            )
        assert values(await get(world, "n1")) == [b"kept"]
        await put(world, "n1", b"next")
        assert values(await get(world, "n2")) == [b"next"]

    world.run(story())


def test_a_context_needs_the_seal_of_a_node_whoever_is_named_in_it() -> None:
    """No owner can judge what another one has made; the one that is named would refuse the key afterwards."""
    world = World(token="secret")

    async def story() -> None:
        receipt = await put(world, "n1", b"kept", level="all")
        keyspace = world.topology.keyspaces[0].id
        ahead = ContextToken(VersionVector(((receipt.dot.actor, receipt.dot.counter + 1000),)))
        for seal in (NO_SECRET, ContextSeal("another")):
            for name in ("n2", "n3"):
                with pytest.raises(InvalidArgument, match="given out by no node of this cluster"):
                    await put(world, name, b"lost", context=seal.token(ahead, keyspace, b"key"))
        for name in world.names:
            assert values(await get(world, name)) == [b"kept"]
        seen = (await get(world, "n3")).context
        await put(world, "n2", b"next", context=seen)
        assert values(await get(world, "n1")) == [b"next"]
        await put(world, "n1", b"beside", context=blind_token(keyspace, b"key"))
        assert set(values(await get(world, "n3"))) == {b"beside", b"next"}

    world.run(story())
