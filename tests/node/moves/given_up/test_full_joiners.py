"""The disk of a joining node is full: the plan is given up, and it is not where a joiner is slow."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.ids import NodeId
from tests.node.moves.test_new_copies import change, get, put, turned, until
from tests.node.repair.healing_world import HealingWorld, run

JOINER = NodeId("n4")
KEYS = [b"key%03d" % number for number in range(20)]
SHORT_S = 12.0  # in place of the ten minutes


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringmill.cluster.ring.joiners.standing_joiners.STANDS_S", SHORT_S)


def is_moving(world: HealingWorld) -> bool:
    return world["n1"].membership.topology.serving_topology().is_moving


def joins(world: HealingWorld) -> bool:
    rows = world["n1"].membership.topology.serving_topology().rows
    return any(row.joiner is not None and row.joiner.node == JOINER for row in rows)


@pytest.mark.parametrize("room", [0, 3000], ids=["nothing can be written", "the reserve is left"])
def test_the_partitions_of_a_joiner_whose_disk_is_full_go_back_to_their_owners(room: int) -> None:
    async def story(world: HealingWorld) -> None:
        for key in KEYS:
            await put(world, "n1", key, b"v")
        disk, filling = world.world.nodes[JOINER].disk.lossy, world[JOINER].moves.mover._filling
        read_whole = filling._read_whole

        async def fill_up_first(*given: Any) -> None:
            disk.capacity = disk.capacity or disk.used + room
            await read_whole(*given)

        filling._read_whole = fill_up_first  # type: ignore[method-assign, assignment]
        await change(world, turned)
        await until(lambda: joins(world))
        await asyncio.sleep(SHORT_S / 2)
        assert joins(world) and world["n1"].membership.liveness.is_up(JOINER)
        await until(lambda: not is_moving(world), within_s=4 * SHORT_S)
        for key in KEYS:
            await put(world, "n2", key, b"w")
            assert await get(world, "n3", key) == [b"w"]

    run(story, nodes=4)


def test_a_joiner_that_is_slow_comes_to_its_end() -> None:
    """Each page takes longer than half of the time in which something has to be reached."""

    async def story(world: HealingWorld) -> None:
        for key in KEYS:
            await put(world, "n1", key, b"v")
        filling = world[JOINER].moves.mover._filling
        read_whole = filling._read_whole

        async def slowly(*given: Any) -> None:
            await asyncio.sleep(SHORT_S * 0.6)
            await read_whole(*given)

        filling._read_whole = slowly  # type: ignore[method-assign, assignment]
        before = [row.whole for row in world.world.topology.rows]
        await change(world, turned)
        began = asyncio.get_running_loop().time()
        await until(lambda: not is_moving(world), within_s=1000)
        assert asyncio.get_running_loop().time() - began > SHORT_S
        after = [row.whole for row in world.world.topology.rows]
        assert all(now != then for now, then in zip(after, before, strict=True)), "all have moved"

    run(story, nodes=4)
