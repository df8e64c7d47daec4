"""A round goes on with the owners that are there, also with one that was down when it began (R1)."""

from __future__ import annotations

import asyncio

from ringmill.cluster.consensus.register import Incr
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
