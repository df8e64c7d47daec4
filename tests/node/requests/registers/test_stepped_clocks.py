"""A node whose clock stepped alone asks owners for no change that it may not stamp (V6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ringmill.cluster.consensus.register import Incr
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.replica.registers.register_messages import ACCEPT, PREPARE
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead, RegisterResult
from ringmill.node.requests.registers.rounds import Rounds
from tests.node.small_world import World

WHERE = RegisterRead("", b"leader", timeout_s=5)


async def incr(world: World, sequence: int, attempt: int = 0) -> RegisterResult:
    request = ChangeRequest(WHERE, Incr(1), OperationId(1, sequence, HybridTime(0)), attempt)
    return await world.on("n1", world.nodes["n1"].requests.change_register(request))


def rounds_of(world: World, name: str) -> Sequence[str]:
    """What a node asks owners from now on."""
    rounds: Rounds = world.nodes[name].requests._registers._rounds
    ask, asked = rounds.ask, list[str]()

    async def noted(*named: Any, **given: Any) -> RoundTally:
        asked.append(named[0])
        return await ask(*named, **given)

    rounds.ask = noted  # type: ignore[method-assign]
    return asked


def test_it_asks_for_no_promise() -> None:
    """Each promise is synced by all owners, and preempts whoever may make the change: a node that wants a
    lease tries it again and again, for as long as its clock is wrong."""
    world = World()

    async def story() -> None:
        await incr(world, 1)
        asked = rounds_of(world, "n1")
        world.nodes["n1"].clock.jump(3600.0)
        with pytest.raises(Unavailable, match="jumped by") as told:
            await incr(world, 2)
        assert told.value.outcome == "failed"
        assert not asked
        world.nodes["n1"].clock.jump(-3600.0)
        assert (await incr(world, 2)).number == 2
        assert asked == [PREPARE, ACCEPT]

    world.run(story())


def test_a_change_that_was_made_before_the_step_is_still_found() -> None:
    world = World()

    async def story() -> None:
        await incr(world, 1)
        world.nodes["n1"].clock.jump(3600.0)
        assert (await incr(world, 1, attempt=1)).number == 1
        with pytest.raises(Unavailable, match="jumped by"):
            await incr(world, 2, attempt=1)

    world.run(story())
