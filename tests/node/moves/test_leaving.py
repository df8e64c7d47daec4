"""A node leaves the cluster, whatever its disk is like."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.ring.moves import aborted, may_leave, with_plan
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.topology import Topology
from ringmill.node.compute.shuffle_server import OutputId
from ringmill.node.moves import mover
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


OUTPUT = OutputId("j-1", 0, 1)


def test_a_leaving_node_gets_no_tasks_and_stays_while_a_job_reads_what_its_maps_have_left() -> None:
    async def story(world: HealingWorld) -> None:
        worker = world[LEAVER].compute.worker
        assert worker.slots > 0 and not worker.is_needed
        worker._shuffle.announce(OUTPUT, "/scratch/j-1/map-0.1/map.run")
        await leave(world)
        await until(lambda: may_leave(world.world.topology, world[LEAVER].moves.mover._seat))
        assert worker.slots == 0
        await asyncio.sleep(30)
        assert world.world.topology.has_member(LEAVER), "its outputs are on no other node"
        worker._shuffle.forget("j-1")
        await until(lambda: not world.world.topology.has_member(LEAVER))

    run(story, nodes=4)


def test_a_leaving_node_waits_for_no_job_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: HealingWorld) -> None:
        monkeypatch.setattr(mover, "MOST_FOR_JOBS_S", 20.0)
        world[LEAVER].compute.worker._shuffle.announce(OUTPUT, "/scratch/j-1/map-0.1/map.run")
        await leave(world)
        await until(lambda: not world.world.topology.has_member(LEAVER))

    run(story, nodes=4)


def turned_among_others(topology: Topology, _: bool) -> Topology:
    """Each partition gets a member that did not own it; the leaver gets none."""
    names = [each.id for each in topology.members if each.id != LEAVER]
    wanted = [(*row.whole[1:], *(node for node in names if node not in row.whole)) for row in topology.rows]
    return with_plan(topology, topology.members, wanted)


def test_another_plan_that_is_aborted_calls_no_leaver_back_who_waits_for_jobs() -> None:
    async def story(world: HealingWorld) -> None:
        worker = world[LEAVER].compute.worker
        worker._shuffle.announce(OUTPUT, "/scratch/j-1/map-0.1/map.run")
        await leave(world)
        await until(lambda: may_leave(world.world.topology, world[LEAVER].moves.mover._seat))
        await change(world, turned_among_others)
        await change(world, lambda topology, _: aborted(topology))
        assert world.world.topology.member(LEAVER).state == "leaving"
        worker._shuffle.forget("j-1")
        await until(lambda: not world.world.topology.has_member(LEAVER))

    run(story, nodes=5)


def test_a_leaver_that_was_called_back_waits_for_jobs_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def called_back(topology: Topology, _: bool) -> Topology:
        up = (replace(each, state="up") if each.id == LEAVER else each for each in topology.members)
        return replace(topology, epoch=Epoch(topology.epoch + 1), members=tuple(up))

    async def story(world: HealingWorld) -> None:
        monkeypatch.setattr(mover, "MOST_FOR_JOBS_S", 60.0)
        world[LEAVER].compute.worker._shuffle.announce(OUTPUT, "/scratch/j-1/map-0.1/map.run")
        seat = world[LEAVER].moves.mover._seat
        await leave(world)
        await until(lambda: may_leave(world.world.topology, seat))
        await asyncio.sleep(10)
        await change(world, called_back)
        await asyncio.sleep(120)
        await leave(world)
        await until(lambda: may_leave(world.world.topology, seat))
        await asyncio.sleep(20)
        assert world.world.topology.has_member(LEAVER), "it left at once"

    run(story, nodes=4)
