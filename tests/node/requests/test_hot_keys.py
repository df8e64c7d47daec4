"""Reads of a hot key are spread over its owners, by the coordinator among the others."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from ringmill.cluster.hot.key_heat import HeatOptions
from ringmill.cluster.ids import NodeId
from ringmill.cluster.membership.claims import MemberState
from ringmill.node.node_options import NodeOptions
from tests.node.one_key import get, put
from tests.node.small_world import World

READS = 300


def world_of(nodes: int, *, spreads_reads: bool = True) -> World:
    heat = HeatOptions(hot_reads_s=10.0, spreads_reads=spreads_reads)
    return World(nodes, options=NodeOptions(heat=heat))


async def owners_asked(world: World, at: NodeId) -> Counter[NodeId]:
    """How many reads each owner has answered, once the key is hot."""
    found = [await get(world, at) for _ in range(READS)]
    await asyncio.sleep(0.3)
    found += [await get(world, at) for _ in range(READS)]
    return Counter(node for each in found[READS + 1 :] for node in each.answered)


@pytest.mark.parametrize("spreads_reads", [True, False])
def test_the_coordinator_asks_the_others_in_turn_and_without_the_rule_always_the_same(
    spreads_reads: bool,
) -> None:
    world = world_of(3, spreads_reads=spreads_reads)

    async def story() -> None:
        await put(world, "n1", b"v")
        asked = await owners_asked(world, NodeId("n1"))
        assert asked.pop(NodeId("n1")) == READS - 1, "its own copy costs no message"
        if spreads_reads:
            assert len(asked) == 2
            assert max(asked.values()) - min(asked.values()) <= 1, asked
        else:
            assert len(asked) == 1, asked
        assert (await get(world, "n1")).is_hot == spreads_reads

    world.run(story())


def test_one_that_owns_no_copy_asks_all_owners_alike_but_none_that_is_down() -> None:
    world = world_of(4)

    async def story() -> None:
        await put(world, "n1", b"v")
        topology = world.topology
        owners = topology.owners(topology.partition_of(topology.keyspace_named("default").id, b"key"))
        (stranger,) = set(world.names) - set(owners)
        asked = await owners_asked(world, stranger)
        assert set(asked) == set(owners)
        assert max(asked.values()) - min(asked.values()) <= 2, asked
        world.nodes[stranger].liveness.states[owners[0]] = MemberState.DOWN
        asked = await owners_asked(world, stranger)
        assert set(asked) == set(owners[1:]), "health comes before the turn"

    world.run(story())


def test_the_sum_of_all_nodes_is_what_clients_asked_and_each_node_tells_its_own_work() -> None:
    world = world_of(3)

    async def story() -> None:
        await put(world, "n1", b"v")
        for _ in range(READS):
            await get(world, "n1")
        told = {name: world.nodes[name].core.heat.report().keys[0] for name in world.names}
        rates = {name: each.rates for name, each in told.items()}
        assert all(each.key == b"key" for each in told.values())
        assert rates[NodeId("n1")].reads_s > 0
        others = [rates[NodeId(name)] for name in ("n2", "n3")]
        assert all(each.reads_s == 0 for each in others)
        assert sum(each.copy_reads_s for each in others) == pytest.approx(
            rates[NodeId("n1")].reads_s, rel=0.1
        )
        assert all(each.copy_writes_s > 0 for each in others)

    world.run(story())
