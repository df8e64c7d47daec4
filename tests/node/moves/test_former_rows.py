"""What was begun under the owners of before is not ended under those of after."""

from __future__ import annotations

from typing import Any

import pytest

from ringmill.cluster.consensus.register import Incr
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.errors import WrongEpoch
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.cluster.wire.request_options import WriteOptions
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead
from ringmill.node.requests.request_values import WriteRequest
from tests.node.moves.test_new_copies import NAMES, change, get, turned, until
from tests.node.repair.healing_world import HealingWorld, run

KEY = b"key"


@pytest.mark.parametrize("attempt", [0, 1])
def test_a_write_that_waits_is_not_applied_once_its_partition_moves(attempt: int) -> None:
    async def story(world: HealingWorld) -> None:
        row, asked = world.world.row(KEY), world[world.world.row(KEY).whole[1]]
        name, objects = asked.core.node, asked.replica.objects
        write = objects.write

        async def moved_first(*given: Any) -> Any:
            """As one whose block has to be read from a slow disk."""
            objects.write = write  # type: ignore[method-assign]
            await change(world, turned)
            known = asked.membership.topology
            await until(
                lambda: known.serving_topology().row(world.world.partition(KEY)).row_epoch > row.row_epoch
            )
            return await write(*given)

        objects.write = moved_first  # type: ignore[method-assign, assignment]
        options = WriteOptions(timeout_s=30)  # the move of its partition has its turn within seconds
        request = WriteRequest("", KEY, b"v", options, attempt=attempt)
        with pytest.raises(WrongEpoch) as told:
            await world.inside(name, asked.requests.write(request))
        assert told.value.outcome == ("unknown" if attempt else "failed")
        await until(lambda: not world.world.topology.is_moving)
        for each in NAMES:
            assert await get(world, each, KEY) == []

    run(story, nodes=4)


@pytest.mark.parametrize("knows_more", [False, True])
@pytest.mark.parametrize("late", [1, 2], ids=["before it is promised", "before it is accepted"])
def test_a_change_of_a_register_goes_on_with_the_owners_that_have_changed(
    late: int, *, knows_more: bool
) -> None:
    """Its client would send it again at most twice, and epochs may come faster than that."""

    async def incr(world: HealingWorld, sequence: int) -> int | None:
        operation = OperationId(1, sequence, HybridTime(0))
        request = ChangeRequest(RegisterRead("", KEY, timeout_s=30), Incr(1), operation)
        return (await world.inside("n1", world["n1"].requests.change_register(request))).number

    async def story(world: HealingWorld) -> None:
        assert await incr(world, 1) == 1
        known = [world[name].membership.topology for name in NAMES]
        partition = known[0].serving_topology().partition_of(KeyspaceId(1, 1), KEY)
        former = known[0].serving_topology().row(partition).row_epoch
        rounds, count = world["n1"].requests._registers._rounds, 0
        ask = rounds.ask

        async def moved_first(*given: Any, **named: Any) -> RoundTally:
            nonlocal count
            count += 1
            if count == late:
                await change(world, turned)
                await until(
                    lambda: all(each.serving_topology().row(partition).row_epoch > former for each in known)
                )
            phase = await ask(*given, **named)
            if count == late and knows_more:  # by the time at which owners tell it of a newer row
                own = known[0].serving_topology
                await until(lambda: own().row(partition).row_epoch > phase.newer_epoch)
            return phase

        rounds.ask = moved_first  # type: ignore[method-assign]
        assert await incr(world, 2) == 2
        assert count > 2
        await until(lambda: not world.world.topology.is_moving)
        assert await incr(world, 3) == 3

    run(story, nodes=4)
