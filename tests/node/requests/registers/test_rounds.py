"""A round goes on with the owners that are there, also with those that were down when it began (R1)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from ringmill.cluster.consensus.register import Incr
from ringmill.cluster.errors import QuorumNotReached, RingmillError
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead, RegisterResult
from tests.node.small_world import World


def test_an_owner_that_comes_back_is_counted_while_another_one_is_silent() -> None:
    world = World()

    async def incr(sequence: int, timeout_s: float) -> RegisterResult:
        where, operation = RegisterRead("", b"hits", timeout_s), OperationId(1, sequence, HybridTime(0))
        request = ChangeRequest(where, Incr(1), operation)
        return await world.on("n1", world.nodes["n1"].requests.change_register(request))

    async def story() -> None:
        await incr(1, 5)
        world.cut("n1", "n3")
        await world.stop("n2")
        under_way = asyncio.ensure_future(incr(2, 60))
        await asyncio.sleep(0.5)
        await world.start("n2")
        began = world.loop.time()
        assert (await incr(3, 5)).number == 3
        assert (await under_way).number == 2
        assert world.loop.time() - began < 2, "both owners of the majority were up"

    world.run(story())


def incr_on(world: World, sequence: int, timeout_s: float) -> Coroutine[None, None, RegisterResult]:
    """At n1, which is an owner."""
    where, operation = RegisterRead("", b"hits", timeout_s), OperationId(1, sequence, HybridTime(0))
    request = ChangeRequest(where, Incr(1), operation)
    return world.on("n1", world.nodes["n1"].requests.change_register(request))


@pytest.mark.parametrize("is_read", [False, True])
def test_owners_that_are_away_for_a_moment_cost_no_request_that_has_time(is_read: bool) -> None:
    """One was ended just before, as the other one comes back: nobody was seen down, and nothing was sent."""
    world = World()

    async def story() -> None:
        await incr_on(world, 1, 5)
        for name in ("n2", "n3"):
            await world.stop(name)
        if is_read:
            read = world.nodes["n1"].requests.read_register(RegisterRead("", b"hits", 20))
            under_way = asyncio.ensure_future(world.on("n1", read))
        else:
            under_way = asyncio.ensure_future(incr_on(world, 2, 20))
        await asyncio.sleep(1.5)
        assert not under_way.done(), "it has 20 s"
        await world.start("n3")
        began = world.loop.time()
        assert (await under_way).value == (b"1" if is_read else b"2")
        assert world.loop.time() - began < 1

    world.run(story())


def test_owners_that_are_seen_down_are_told_of_without_waiting_for_them() -> None:
    world = World()

    async def story() -> None:
        await incr_on(world, 1, 5)
        for name in ("n2", "n3"):
            await world.stop(name)
        under_way = asyncio.ensure_future(incr_on(world, 2, 20))
        await asyncio.sleep(1)
        world.seen("n2", "down")
        began = world.loop.time()
        await asyncio.sleep(1)
        assert not under_way.done(), "n3 would make up a majority, and is not seen down"
        world.seen("n3", "down")
        with pytest.raises(QuorumNotReached, match="needs 2 owners, 1 answered") as told:
            await under_way
        assert world.loop.time() - began < 2 and told.value.outcome == "failed"
        with pytest.raises(QuorumNotReached):
            await incr_on(world, 3, 20)
        assert world.loop.time() - began < 3, "it was known from the beginning"

    world.run(story())


def test_owners_seen_down_while_a_second_question_hangs() -> None:
    world = World()

    async def story() -> None:
        await incr_on(world, 1, 5)
        for name in ("n2", "n3"):
            await world.stop(name)
        under_way = asyncio.ensure_future(incr_on(world, 2, 20))
        await asyncio.sleep(0.1)
        world.cut("n1", "n2")
        world.cut("n1", "n3")  # the second question vanishes
        await asyncio.sleep(1)
        for name in ("n2", "n3"):
            world.seen(name, "down")
        began = world.loop.time()
        with pytest.raises(RingmillError) as told:
            await under_way
        assert told.value.outcome == "failed"
        assert world.loop.time() - began < 2

    world.run(story())
