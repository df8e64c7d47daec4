"""Who has no document is offered one by the members, whatever became of the command that formed them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace, created
from ringmill.cluster.ring.moves import aborted
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.simulator.disk.moment import CrashModel
from tests.node.membership.test_replacement import until
from tests.node.repair.healing_world import HealingWorld, run


async def form_without_n4(world: HealingWorld) -> None:
    """n4 is killed when it has been asked who it is, before it is given the document."""
    nodes = world.world.nodes
    for process in nodes.values():
        process.start()
    ups = {name: await process.up() for name, process in nodes.items()}
    members = [
        Member(NodeId(name), up.identity.disk, nodes[name].address, zone=name) for name, up in ups.items()
    ]
    document = first_topology("simulated", members, partitions=world.world.options.partitions).encode()
    nodes["n4"].kill(CrashModel.PREFIX)
    for name in ("n1", "n2", "n3"):
        await world.inside(name, agent(world, name).take_first(document))
    await world.world.all_serve(nodes[name] for name in ("n1", "n2", "n3"))


def agent(world: HealingWorld, name: str) -> TopologyAgent:
    return world[name].membership.topology


async def change(world: HealingWorld, by: str, make: Any) -> None:
    await world.inside(by, world[by].membership.epochs.change(lambda topology, _: make(topology), 10))


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_node_that_was_away_when_the_cluster_was_formed_comes_in(is_restarted: bool) -> None:
    """Also after an epoch: then no command can give it the first document, which is all that it takes."""

    async def story(world: HealingWorld) -> None:
        await change(world, "n1", lambda topology: created(topology, NewKeyspace("carts")))
        for name in ("n1", "n2", "n3") if is_restarted else ():
            world.world.nodes[name].kill(CrashModel.PREFIX)
            world.world.nodes[name].start()
            await world.world.nodes[name].up()
        world.world.nodes["n4"].start()
        await world.world.nodes["n4"].up()
        await until(lambda: agent(world, "n4").serving)
        assert agent(world, "n4").epoch == agent(world, "n1").epoch

    run(story, nodes=4, forms=form_without_n4)


def test_a_former_member_is_told_nothing() -> None:
    async def story(world: HealingWorld) -> None:
        newcomer = await world.world.admit("n5")
        world.world.nodes["n5"].kill(CrashModel.PREFIX)
        await change(world, "n1", lambda topology: with_members(topology, MemberChanges(add=[newcomer])))
        offering = world["n1"].membership.offering
        assert offering._untold == {"n5"}
        await change(world, "n1", aborted)
        await asyncio.sleep(30)
        assert not agent(world, "n1").serving_topology().has_member(NodeId("n5"))
        assert offering._untold == set()

    run(story, nodes=4)
