"""A node that lost its disk gets its seat back under the operator's word, and is filled first (rule T8)."""

from __future__ import annotations

import asyncio
from typing import Any

from ringmill.cluster.consensus.register import Incr
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.replacement import replaced
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.membership.epoch_proposer import TopologyChanged
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead
from ringmill.simulator.disk.moment import CrashModel
from tests.node.repair.healing_world import HealingWorld, run

KEYS = [b"key %d" % number for number in range(60)]


async def lose(world: HealingWorld, name: str) -> DiskId:
    """The machine stops, and comes back with an empty disk; that disk's id."""
    process = world.world.nodes[name]
    process.kill(CrashModel.PREFIX)
    process.disk.replace()
    process.start()
    return (await process.up()).identity.disk


async def replace(world: HealingWorld, by: str, name: str, disk: DiskId) -> TopologyChanged:
    former = world[by].membership.topology.topology().member(NodeId(name)).disk

    def change(topology: Topology, _: bool) -> Topology | None:
        return replaced(topology, NodeId(name), former, disk)

    return await world.inside(by, world[by].membership.epochs.change(change, 10))


async def until(condition: Any, timeout_s: float = 120.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  virtual time costs nothing
            await asyncio.sleep(0.05)


def is_filled(world: HealingWorld, name: str) -> bool:
    node = world.world.nodes[name].node
    if node is None or not node.membership.topology.serving:
        return False
    return not (node.replica.engine.corrupt_ranges() or node.repair.healing.now)


async def incr(world: HealingWorld, name: str, key: bytes, number: int) -> int | None:
    request = ChangeRequest(RegisterRead("", key), Incr(1), OperationId(1, number, HybridTime(0)))
    return (await world.inside(name, world[name].requests.change_register(request))).number


def test_a_replaced_node_holds_all_that_was_acknowledged() -> None:
    async def story(world: HealingWorld) -> None:
        for number, key in enumerate(KEYS):
            await world.put(f"n{1 + number % 3}", key, b"v%d" % number)
            await incr(world, "n1", key, number)
        disk = await lose(world, "n1")
        assert not world["n1"].membership.topology.serving
        made = await replace(world, "n2", "n1", disk)
        assert made.was_made and made.topology.epoch == 2
        assert not (await replace(world, "n3", "n1", disk)).was_made
        await until(lambda: is_filled(world, "n1"))
        await world.down("n3")
        for number, key in enumerate(KEYS):
            assert await world.get("n1", key) == [b"v%d" % number]
            assert await incr(world, "n1", key, 1000 + number) == 2

    run(story)
