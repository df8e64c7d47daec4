"""A move that is given up and planned again brings a copy of its own, which begins by itself (M3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.moves import aborted, advanced
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.node.replica.stored_key import Copy
from tests.node.moves.test_new_copies import change, turned, until
from tests.node.repair.healing_world import HealingWorld, run

JOINER = NodeId("n4")


def opened(topology: Topology, may_be_made: bool) -> Topology | None:
    """The joiner takes copies at once, whatever it is busy with."""
    return advanced(topology, topology.member(JOINER).seat, filled={}, adopted={}, most=4)


def copies(topology: Topology) -> set[Copy]:
    """Those that moves have brought to the joiner."""
    epochs = [(PartitionId(at), row.copy_epoch_of(JOINER)) for at, row in enumerate(topology.rows)]
    return {Copy(partition, epoch) for partition, epoch in epochs if epoch > 1}


def test_a_copy_is_not_filled_before_its_own_watermark_is_known() -> None:
    learned: set[Copy] = set()
    begun: list[int] = []

    async def story(world: HealingWorld) -> None:
        at_joiner, marks = world[JOINER].membership.topology, world[JOINER].replica.watermarks
        filling = world[JOINER].moves.mover._filling
        begin, learn = filling.begin, marks.learn

        async def begin_and_move_again(
            partitions: Collection[PartitionId],
        ) -> dict[PartitionId, RingmillError]:
            refused = await begin(partitions)
            if partitions and not begun:
                begun.append(at_joiner.epoch)
                await change(world, lambda topology, may_be_made: aborted(topology))
                await change(world, turned)
                await change(world, opened)
                await until(lambda: bool(copies(at_joiner.serving_topology()) - learned))
                begun.append(at_joiner.epoch)
            return refused

        async def note(proven: Mapping[PartitionId, HybridTime]) -> None:
            learned.update(each for each in copies(at_joiner.serving_topology()) if each.partition in proven)
            await learn(proven)

        filling.begin = begin_and_move_again  # type: ignore[method-assign]
        marks.learn = note  # type: ignore[method-assign]
        await change(world, turned)
        await until(lambda: len(begun) == 2 and not world.world.topology.is_moving)
        assert copies(world.world.topology) and copies(world.world.topology) <= learned

    run(story, nodes=4)
