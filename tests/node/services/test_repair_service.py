"""The Repair service refuses a partition that its node does not own as one whose owners may have changed."""

from __future__ import annotations

import pytest

from ringmill.cluster.access.raw_tokens import TOKEN_KEY
from ringmill.cluster.errors import InvalidArgument, WrongEpoch
from ringmill.cluster.wire.stubs.repair_pb2 import RepairRunRequest, RepairRunResponse
from ringmill.node.service_tables import service_tables
from ringmill.node.services.table import Call, Unary
from ringmill.simulator.world.services import PROCESS, TOKEN
from tests.node.repair.healing_world import HealingWorld, run


async def compared(world: HealingWorld, name: str, partition: int) -> int:
    (service,) = [each for each in service_tables(world[name], PROCESS) if each.name == "ringmill.v1.Repair"]
    method = service.methods["Run"]
    assert isinstance(method, Unary)
    request = RepairRunRequest(partitions=[partition]).SerializeToString()

    async def answered() -> bytes:
        return await method.run(request, Call(5.0, {TOKEN_KEY: TOKEN}))

    return RepairRunResponse.FromString(await world.inside(name, answered())).partitions


def test_a_partition_of_others_is_not_a_wrong_argument_as_it_may_have_moved() -> None:
    async def story(world: HealingWorld) -> None:
        topology = world["n1"].membership.topology.serving_topology()
        row = topology.rows[0]
        assert await compared(world, row.whole[0], 0) == 1
        (other,) = {each.id for each in topology.members} - {*row.whole}
        with pytest.raises(WrongEpoch, match=f"{other} does not own partition 0") as raised:
            await compared(world, other, 0)
        assert WrongEpoch.epoch_of(raised.value) == topology.epoch
        with pytest.raises(InvalidArgument, match=f"numbered from 0 to {len(topology.rows) - 1}$"):
            await compared(world, other, len(topology.rows))

    run(story, nodes=4)
