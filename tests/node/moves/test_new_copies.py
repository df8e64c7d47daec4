"""A copy that joins a node is filled from the old owners, and a former owner forgets its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from ringmill.cluster.errors import QuorumNotReached, Stale, Unavailable, WrongEpoch
from ringmill.cluster.ids import Actor, Epoch, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.ring.moves import aborted, with_plan
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.ring.topology_entries import JOINT_1, KeyspaceEntry
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import ABSENT, OperationId, Sibling, StoredObject
from ringmill.node.replica.purging.watermarks import Watermarks
from ringmill.node.replica.stored_key import Copy, Place, copy_prefix, prefix_end
from tests.node.repair.healing_world import HealingWorld, run

T = TypeVar("T")

KEYS = [b"key%03d" % number for number in range(40)]
NAMES = ("n1", "n2", "n3", "n4")
PARTITION, EPOCH = PartitionId(3), Epoch(7)
COPY = Copy(PARTITION, EPOCH)
PLACE = Place(COPY, KeyspaceId(1, 0), b"key")


async def until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(0.25)


async def change(world: HealingWorld, made: Callable[[Topology, bool], Topology | None]) -> None:
    await world.inside("n1", world["n1"].membership.epochs.change(made, 10.0))


def turned(topology: Topology, may_be_made: bool) -> Topology | None:
    """Each partition gets the one member that did not own it, in the place of its first owner."""
    names = [each.id for each in topology.members]
    wanted = [(*row.whole[1:], *(node for node in names if node not in row.whole)) for row in topology.rows]
    return with_plan(topology, topology.members, wanted)


async def again(ask: Callable[[], Awaitable[T]]) -> T:
    """As a client does: once more, when owners know a newer topology than the node that was asked."""
    for _ in range(20):
        try:
            return await ask()
        except (QuorumNotReached, WrongEpoch):
            await asyncio.sleep(0.1)
    return await ask()


async def put(world: HealingWorld, name: str, key: bytes, value: bytes) -> None:
    await again(lambda: world.put(name, key, value))


async def get(world: HealingWorld, name: str, key: bytes, level: str = "") -> list[bytes | None]:
    return await again(lambda: world.get(name, key, level))


async def stored(world: HealingWorld, name: str, copy: Copy) -> int:
    """How many objects lie under a copy's keys."""

    async def count() -> int:
        prefix = copy_prefix(copy)
        return len([key async for key, _ in world[name].replica.engine.scan(prefix, prefix_end(prefix))])

    return await world.inside(name, count())


def test_partitions_move_twice_and_nothing_is_left_behind() -> None:
    async def story(world: HealingWorld) -> None:
        for number, key in enumerate(KEYS):
            await world.put(NAMES[number % 4], key, b"v%d" % number, "all")
        await world.delete("n1", KEYS[0])
        for turn in range(4):
            await change(world, turned)
            for number, key in enumerate(KEYS[1:], 1):
                await put(world, NAMES[(number + turn) % 4], key, b"v%d" % number)
                assert await get(world, NAMES[(number + turn + 1) % 4], key) == [b"v%d" % number]
            await until(lambda: not world.world.topology.is_moving)
        epoch = world.world.topology.epoch
        await until(lambda: all(world[name].membership.topology.epoch == epoch for name in NAMES))
        await asyncio.sleep(5.0)
        assert await get(world, "n2", KEYS[0]) == []
        for number, row in enumerate(world.world.topology.rows):
            known = {
                (name, at): await stored(world, name, Copy(PartitionId(number), Epoch(at)))
                for name in NAMES
                for at in range(1, epoch + 1)
            }
            left = {(name, at) for (name, at), items in known.items() if items}
            assert left <= {(node, row.copy_epoch_of(node)) for node in row.whole}

    run(story, nodes=4)


def test_whoever_leaves_says_so_to_those_that_stay() -> None:
    async def story(world: HealingWorld) -> None:
        leaving = MemberChanges(remove=[NodeId("n4")])
        await change(world, lambda topology, may_be_made: with_members(topology, leaving))
        stay = [world[name].membership.topology for name in NAMES[:3]]
        await until(lambda: not any(each.serving_topology().has_member(NodeId("n4")) for each in stay))

    run(story, nodes=4)


def test_a_copy_that_was_damaged_while_it_was_filled_does_not_count() -> None:
    async def story(world: HealingWorld) -> None:
        engine = world["n4"].replica.engine
        engine.may_lack = lambda start, end, snapshot=None: True  # type: ignore[method-assign]
        await change(world, turned)
        await until(lambda: bool(world["n4"].moves.mover.held_back))
        await asyncio.sleep(5.0)
        rows = [row for row in world.world.topology.rows if row.joiner and row.joiner.node == "n4"]
        assert rows and all(row.phase == JOINT_1 for row in rows)
        del engine.may_lack
        await until(lambda: not world.world.topology.is_moving)

    run(story, nodes=4)


def test_whoever_may_lack_a_write_of_the_joint_is_compared_once_it_has_its_place() -> None:
    async def story(world: HealingWorld) -> None:
        joiner = world["n4"].replica.engine
        joiner.may_lack = lambda start, end, snapshot=None: True  # type: ignore[method-assign]
        await change(world, turned)

        def joined() -> list[int]:
            rows = enumerate(world.world.topology.rows)
            return [number for number, row in rows if row.joiner and row.joiner.node == "n4"]

        await until(lambda: bool(joined()))
        number, row = joined()[0], world.world.topology.rows[joined()[0]]
        stays = row.following[0].node
        repair, known = world[stays].repair.anti_entropy, world[stays].membership.topology
        await until(lambda: known.serving_topology().rows[number].is_joint)
        repair.owe(PartitionId(number), NodeId("n4"))  # as it does when it drops a hint
        await asyncio.sleep(5.0)
        assert (number, "n4") in repair.waiting
        del joiner.may_lack
        await until(lambda: not world.world.topology.is_moving)
        await until(lambda: repair.is_done)

    run(story, nodes=4)


def test_a_member_whose_disk_is_gone_holds_up_no_move_though_all_owners_have_to_know_of_it() -> None:
    async def story(world: HealingWorld) -> None:
        await world.down("n4")
        gone = MemberChanges(remove=[NodeId("n4")])
        await change(world, lambda topology, _: with_members(topology, gone, dead=[NodeId("n4")]))
        await until(lambda: not world.world.topology.is_moving)
        assert not world.world.topology.has_member(NodeId("n4"))

    run(story, nodes=4, keyspaces=[KeyspaceEntry(KeyspaceId(1, 20), "all", r=1, w=3)])


def test_a_plan_that_is_given_up_leaves_the_old_owners_whole() -> None:
    async def story(world: HealingWorld) -> None:
        for number, key in enumerate(KEYS):
            await world.put(NAMES[number % 4], key, b"v%d" % number, "all")
        await change(world, turned)
        await until(lambda: any(row.is_joint for row in world.world.topology.rows))
        await change(world, lambda topology, may_be_made: aborted(topology))
        assert not world.world.topology.is_moving
        for number, key in enumerate(KEYS):
            assert await get(world, NAMES[number % 4], key, "all") == [b"v%d" % number]

    run(story, nodes=4)


def test_a_joiner_that_is_killed_goes_on_and_one_that_is_away_holds_nobody_up() -> None:
    async def story(world: HealingWorld) -> None:
        for number, key in enumerate(KEYS):
            await world.put(NAMES[number % 4], key, b"v%d" % number, "all")
        await world.down("n4")
        await change(world, turned)
        await asyncio.sleep(5.0)
        assert any(row.wanted for row in world.world.topology.rows), "what n4 is to own waits for it"
        for number, key in enumerate(KEYS):
            await put(world, NAMES[number % 3], key, b"w%d" % number)
        await world.up("n4")
        await until(lambda: any(row.is_joint for row in world.world.topology.rows))
        await world.down("n4")
        await world.up("n4")
        await until(lambda: not world.world.topology.is_moving)
        for number, key in enumerate(KEYS):
            assert await get(world, NAMES[number % 4], key) == [b"w%d" % number]

    run(story, nodes=4)


class Kept:
    """Control state in memory."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        return self.values.get(name)

    async def put_synced(self, name: str, value: bytes) -> None:
        self.values[name] = value


def written_at(time: int) -> StoredObject:
    dot = Dot(Actor("n1#1"), 1)
    operation = OperationId(1, 1, HybridTime(time))
    sibling = Sibling(dot, b"v", HybridTime(time), operation)
    return StoredObject(VersionVector.of([(dot.actor, dot.counter)]), (sibling,))


async def test_a_copy_that_is_being_filled_takes_only_what_owners_hold() -> None:
    marks = Watermarks(Kept())  # type: ignore[arg-type]
    await marks.learn({PARTITION: HybridTime(7)})  # as an earlier owner
    marks.begin_filling(PARTITION, is_new=True)
    assert not marks.proven(PARTITION)
    await marks.learn({PARTITION: HybridTime(10)})
    for time in (5, 15):
        marks.judge(PLACE, ABSENT, written_at(time), "", of_owner=True)
        with pytest.raises(Unavailable, match="being filled"):
            marks.judge(PLACE, ABSENT, written_at(time), "")
    marks.end_filling(PARTITION)
    assert marks.proven(PARTITION) == 10
    with pytest.raises(Stale):
        marks.judge(PLACE, ABSENT, written_at(5), "")
    marks.judge(PLACE, ABSENT, written_at(15), "")
