"""Who is on its way into a cluster or out of it keeps no write that counts."""

from __future__ import annotations

import asyncio

import pytest

from ringmill.cluster.errors import QuorumNotReached
from ringmill.cluster.ids import KeyspaceId, NodeId
from ringmill.cluster.ring.moves import paused
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.cluster.wire.request_options import WriteOptions
from ringmill.node.requests.request_values import WriteRequest
from tests.node.moves.test_new_copies import change, until
from tests.node.repair.healing_world import HealingWorld, run

LOOSE = KeyspaceEntry(KeyspaceId(1, 20), "loose", quorum="sloppy")


def test_a_member_that_is_to_leave_stands_in_for_nobody() -> None:
    async def story(world: HealingWorld) -> None:
        keys = (b"key%d" % number for number in range(1000))
        formed, topology = world.world.topology, world["n1"].membership.topology
        key = next(each for each in keys if "n4" not in formed.owners(formed.partition_of(LOOSE.id, each)))
        put = WriteRequest("loose", key, b"v", WriteOptions("all", timeout_s=5.0))
        await world.down("n3")
        await world.inside("n1", world["n1"].requests.write(put))

        leaving = MemberChanges(remove=[NodeId("n4")])
        await change(world, lambda topology, _: with_members(topology, leaving))
        await change(world, lambda topology, _: paused(topology, is_paused=True))
        with pytest.raises(QuorumNotReached):
            await world.inside("n1", world["n1"].requests.write(put))
        assert topology.serving_topology().has_member(NodeId("n4")), "it still has the first one"

    run(story, nodes=4, keyspaces=[LOOSE])


def test_a_member_stays_until_its_last_hint_is_delivered() -> None:
    async def story(world: HealingWorld) -> None:
        kept, mover = [b"a hint"], world["n4"].moves.mover
        mover._count_hints = lambda: len(kept)
        leaving = MemberChanges(remove=[NodeId("n4")])
        await change(world, lambda topology, _: with_members(topology, leaving))
        await until(lambda: not world.world.topology.is_moving)
        await asyncio.sleep(20.0)
        assert world.world.topology.has_member(NodeId("n4"))
        kept.clear()
        await until(lambda: not world.world.topology.has_member(NodeId("n4")))

    run(story, nodes=4)
