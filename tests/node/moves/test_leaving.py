"""A node leaves the cluster, whatever its disk is like."""

from __future__ import annotations

import pytest

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.topology import Topology
from ringmill.node.moves.former_copies import FormerCopies
from ringmill.node.storage.upkeep.space import needed_space
from tests.node.moves.test_new_copies import change, turned, until
from tests.node.repair.healing_world import HealingWorld, run

LEAVER, AWAY = NodeId("n4"), NodeId("n3")


async def leave(world: HealingWorld) -> None:
    leaving = MemberChanges(remove=[LEAVER])
    await change(world, lambda topology, _: with_members(topology, leaving))


def test_a_node_with_a_full_disk_delivers_its_hints_and_leaves() -> None:
    async def story(world: HealingWorld) -> None:
        keys = [b"key%d" % number for number in range(40)]
        hints = world[LEAVER].replica.hints
        await world.down(AWAY)
        for key in keys:
            await world.put(LEAVER, key, bytes(500))
        await until(lambda: hints.counts().get(AWAY, 0) > 5)

        engine, disk = world[LEAVER].replica.engine, world.world.nodes[LEAVER].disk.lossy
        disk.capacity = disk.used + needed_space(engine._tables.version, engine.options).total_bytes - 1
        await until(lambda: engine.read_only_reason is not None)
        await world.up(AWAY)
        await leave(world)
        await until(lambda: not world.world.topology.has_member(LEAVER))
        assert not hints.total

    run(story, nodes=4)


def test_copies_that_cannot_be_dropped_are_in_the_way_of_no_move_and_of_no_leaver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def damaged(copies: FormerCopies, topology: Topology) -> None:
        raise CorruptData("a damaged block")

    async def story(world: HealingWorld) -> None:
        monkeypatch.setattr(FormerCopies, "sweep", damaged)
        await change(world, turned)
        await until(lambda: not world.world.topology.is_moving)
        await leave(world)
        await until(lambda: not world.world.topology.has_member(LEAVER))

    run(story, nodes=4)
