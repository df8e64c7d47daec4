"""Steps of wall clocks in a small cluster: one that all share stops nobody, one that is alone does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.node.membership.clock_watch import CLOCK_TELL
from tests.node.one_key import get, put, values
from tests.node.small_world import World

STEPS = pytest.mark.parametrize("step_s", [2.0, -2.0, 7200.0])


@STEPS
def test_a_step_that_all_clocks_make_stops_no_write(step_s: float) -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"before")
        for node in world.nodes.values():
            node.clock.jump(step_s)
        for name in world.names:
            await put(world, name, b"after " + name.encode())
            assert not world.nodes[name].watch.reasons
        assert values(await get(world, "n1")) == [b"after n3"]

    world.run(story())


@STEPS
def test_a_node_whose_clock_steps_alone_stops_writing_says_why_and_goes_on_by_itself(step_s: float) -> None:
    world = World()

    async def story() -> None:
        n1 = world.nodes["n1"]
        await put(world, "n1", b"before")
        n1.clock.jump(step_s)
        for _ in range(2):
            with pytest.raises(Unavailable, match="wall clock of this node jumped") as refused:
                await put(world, "n1", b"never")
            assert refused.value.outcome == "failed"
        assert "from the median of 3 nodes" in n1.watch.reasons[0]
        assert n1.watch.apart_s == pytest.approx(step_s, abs=0.1)
        await put(world, "n2", b"by another")
        assert values(await get(world, "n1")) == [b"by another"]
        n1.clock.jump(-step_s)
        await put(world, "n1", b"right again")
        await asyncio.sleep(1.5)
        assert not n1.watch.reasons
        assert n1.watch.apart_s == pytest.approx(0.0, abs=0.1)

    world.run(story())


def test_a_clock_that_was_set_right_is_believed_though_it_jumped() -> None:
    world = World()

    async def story() -> None:
        world.nodes["n1"].clock.jump(7200.0)
        with pytest.raises(Unavailable):
            await put(world, "n1", b"never")
        world.nodes["n1"].clock.jump(-7200.3)
        await put(world, "n1", b"set right")

    world.run(story())


def test_a_jump_that_nobody_can_judge_stops_the_node_until_somebody_can() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"before")
        for node in world.nodes.values():
            node.clock.jump(2.0)
        for other in ("n2", "n3"):
            world.cut("n1", other)
        with pytest.raises(Unavailable):
            await put(world, "n1", b"never", timeout_s=1.0, level="1")
        assert "too few nodes answer" in world.nodes["n1"].watch.reasons[0]
        for other in ("n2", "n3"):
            world.cut("n1", other, is_cut=False)
        await asyncio.sleep(2.5)
        await put(world, "n1", b"judged")

    world.run(story())


def test_two_that_are_left_and_differ_both_wait_until_somebody_sets_their_clocks() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"before")
        for name in ("n1", "n2"):
            world.cut(name, "n3")
        for name, step_s in (("n1", 7200.0), ("n2", 3600.0)):
            world.nodes[name].clock.jump(step_s)
        for name in ("n1", "n2"):
            with pytest.raises(Unavailable, match="wall clock of this node jumped"):
                await put(world, name, b"never")
            assert "from the median of 2 nodes" in world.nodes[name].watch.reasons[0]
        world.nodes["n1"].clock.jump(-3600.0)  # both are an hour ahead still, and nobody says so
        await asyncio.sleep(1.5)
        for name in ("n1", "n2"):
            await put(world, name, b"by " + name.encode())
            assert not world.nodes[name].watch.reasons

    world.run(story())


def test_the_only_node_of_a_cluster_goes_on() -> None:
    world = World(1, n=1, r=1, w=1)

    async def story() -> None:
        world.nodes["n1"].clock.jump(-2.0)
        await put(world, "n1", b"alone")

    world.run(story())


def test_answers_that_a_machine_slept_over_tell_it_no_time() -> None:
    world = World()

    async def story() -> None:
        n1, asked, woken = world.nodes["n1"], 0, asyncio.Event()
        call = n1.transport.call

        async def slept_over(node: NodeId, method: str, *rest: Any, **named: Any) -> bytes:
            nonlocal asked
            answer = await call(node, method, *rest, **named)
            if method == CLOCK_TELL:
                asked += 1
                if asked == 2:
                    for each in world.nodes.values():
                        each.clock._booted_s += 90.0
                        each.clock.jump(90.0)
                    woken.set()
                await woken.wait()
            return answer

        n1.transport.call = slept_over  # type: ignore[method-assign, assignment]
        while asked < 2:  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.05)
        assert n1.hybrid.expiry_ms() == pytest.approx(n1.hybrid.wall_ms(), abs=500)
        await put(world, "n1", b"v", ttl_ms=20_000)
        assert values(await get(world, "n2")) == [b"v"]
        await asyncio.sleep(1.5)
        assert asked == 4, "the next comparison does not wait for its turn"

    world.run(story())
