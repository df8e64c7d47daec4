"""Values with a ttl, in a cluster one of whose clocks is wrong by hours."""

from __future__ import annotations

import asyncio

import pytest

from tests.node.one_key import get, put, values
from tests.node.small_world import World

SKEWS = pytest.mark.parametrize("skew_s", [7200.0, -7200.0])


async def skewed(world: World, name: str, skew_s: float) -> None:
    """Start a node again with a clock that is wrong from the start."""
    world.kill(name)
    await world.start(name)
    world.nodes[name].clock.jump(skew_s)
    world.nodes[name].hybrid.accept_jump()


@SKEWS
def test_a_coordinator_with_a_wrong_clock_shows_a_value_as_long_as_the_others_do(skew_s: float) -> None:
    world = World()

    async def story() -> None:
        await skewed(world, "n1", skew_s)
        await put(world, "n3", b"v", ttl_ms=600_000)
        for _ in range(2):
            for name in world.names:
                assert values(await get(world, name)) == [b"v"]
        await asyncio.sleep(601)
        for name in world.names:
            assert values(await get(world, name)) == []

    world.run(story())


@SKEWS
def test_a_value_written_through_a_node_with_a_wrong_clock_lives_its_whole_ttl(skew_s: float) -> None:
    world = World()

    async def story() -> None:
        await skewed(world, "n1", skew_s)
        await put(world, "n1", b"v", ttl_ms=600_000)
        await asyncio.sleep(590)
        for name in world.names:
            assert values(await get(world, name)) == [b"v"]
        await asyncio.sleep(20)
        for name in world.names:
            assert values(await get(world, name)) == []

    world.run(story())


def test_expiry_never_goes_back_when_the_clocks_do() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"v", ttl_ms=1_000)
        await asyncio.sleep(2)
        assert values(await get(world, "n1")) == []
        for node in world.nodes.values():
            node.clock.jump(-3600.0)
        await asyncio.sleep(15)
        assert values(await get(world, "n1")) == []

    world.run(story())
