"""Writes and reads of keys of which one owner cannot read its own copy: the two sound owners suffice."""

from __future__ import annotations

import pytest

from ringmill.cluster.errors import CorruptData, QuorumNotReached
from ringmill.cluster.ids import NodeId
from ringmill.cluster.quorum.receipt import QuorumReceipt, Role
from ringmill.node.replica.stored_key import Kind, kind_prefix
from tests.node.one_key import get, put, values
from tests.node.small_world import World

OBJECTS = kind_prefix(Kind.OBJECT)


def damage(world: World, *names: str) -> None:
    for name in names:
        world.nodes[name].engine.fenced.add(OBJECTS)


def owners(receipt: QuorumReceipt) -> set[NodeId]:
    return {ack.node for ack in receipt.replicas if ack.role is Role.OWNER}


@pytest.mark.parametrize("value", [b"new", None], ids=["put", "delete"])
def test_an_owner_that_cannot_read_its_copy_lets_another_one_coordinate(value: bytes | None) -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"old", level="all")
        damage(world, "n1")
        receipt = await put(world, "n1", value)
        assert owners(receipt) == {"n2", "n3"}
        assert receipt.dot.actor.split("#")[0] != "n1"
        found = values(await get(world, "n2"))
        assert found == ([] if value is None else [value])
        assert values(await get(world, "n1")) == found

    world.run(story())


def test_a_node_that_owns_nothing_of_it_finds_the_sound_owner() -> None:
    world = World(nodes=5)

    async def story() -> None:
        row = world.topology.row(world.topology.partition_of(world.topology.keyspaces[0].id, b"key"))
        stranger = next(name for name in world.names if name not in row.nodes)
        damage(world, row.nodes[0])
        assert owners(await put(world, stranger, b"v")) == set(row.nodes[1:])

    world.run(story())


def test_no_sound_owner_left_is_one_error_and_no_loop() -> None:
    world = World()

    async def story() -> None:
        damage(world, "n1", "n2", "n3")
        for name in world.names:
            with pytest.raises(CorruptData) as refused:
                await put(world, name, b"v")
            assert refused.value.outcome == "failed"
        assert all(node.hints.total == 0 for node in world.nodes.values())

    world.run(story())


def test_a_damaged_owner_does_not_count_for_w_and_gets_the_write_as_a_hint() -> None:
    world = World()

    async def story() -> None:
        damage(world, "n3")
        receipt = await put(world, "n1", b"v")
        assert owners(receipt) == {"n1", "n2"}
        await world.until(lambda: world.nodes["n1"].hints.counts() == {"n3": 1})
        with pytest.raises(QuorumNotReached, match="may be lost") as lost:
            await put(world, "n1", b"w", level="3")
        assert lost.value.outcome == "unknown"
        world.nodes["n3"].engine.fenced.clear()
        await world.until(lambda: world.nodes["n1"].hints.total == 0)
        assert values(await get(world, "n3", "one")) == [b"w"]

    world.run(story())


def test_a_second_attempt_at_a_damaged_owner_is_unknown_and_goes_nowhere() -> None:
    world = World()

    async def story() -> None:
        damage(world, "n1")
        with pytest.raises(CorruptData) as refused:
            await put(world, "n1", b"v", attempt=1)
        assert refused.value.outcome == "unknown"

    world.run(story())


def test_a_hint_whose_own_range_is_damaged_is_kept_once_it_is_healed() -> None:
    world = World()

    async def story() -> None:
        node = world.nodes["n1"]
        node.engine.fenced.add(kind_prefix(Kind.HINT))
        world.kill("n3")
        world.seen("n3", "down")
        await put(world, "n1", b"v")
        await world.until(lambda: node.hints.counts() == {"n3": 1})
        node.engine.fenced.clear()
        await world.start("n3")
        world.seen("n3", "up")
        await world.until(lambda: node.hints.total == 0)
        assert values(await get(world, "n3", "one")) == [b"v"]

    world.run(story())
