"""What was begun under the owners of before is not ended under those of after."""

from __future__ import annotations

from typing import Any

import pytest

from ringmill.cluster.errors import WrongEpoch
from ringmill.cluster.wire.request_options import WriteOptions
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
            await until(lambda: known.topology().row(world.world.partition(KEY)).row_epoch > row.row_epoch)
            return await write(*given)

        objects.write = moved_first  # type: ignore[method-assign, assignment]
        options = WriteOptions(timeout_s=30)  # the move of its partition has its turn within seconds
        request = WriteRequest("", KEY, b"v", options, attempt=attempt)
        with pytest.raises(WrongEpoch) as told:
            await world.inside(name, asked.requests.put(request))
        assert told.value.outcome == ("unknown" if attempt else "failed")
        await until(lambda: not world.world.topology.is_moving)
        for each in NAMES:
            assert await get(world, each, KEY) == []

    run(story, nodes=4)
