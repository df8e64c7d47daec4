"""What is served about moves, by which an alert tells those that do not go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import DiskId, Epoch, NodeId, PartitionId
from ringmill.cluster.ring.moves import advanced
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.node.metrics.upkeep_families import _moves
from ringmill.node.moves.fill_steps import FillSteps
from ringmill.node.moves.mover import Mover


def test_the_bytes_of_a_copy_count_while_it_is_being_filled() -> None:
    """A large copy takes longer than the alert waits."""
    moves = SimpleNamespace(
        mover=SimpleNamespace(filled_copies=1),
        filling=SimpleNamespace(moved_bytes=250),
    )
    node = SimpleNamespace(
        core=SimpleNamespace(node=NodeId("n1")),
        membership=SimpleNamespace(topology=SimpleNamespace(current=None)),
        moves=moves,
    )
    told = {family.name: family.samples[0].value for family in _moves(cast("Any", node))}
    assert told["moved_partitions_total"] == 1
    assert told["moved_bytes_total"] == 250


class Filling:
    """Fills what it is asked for, but for copies of which too few sources answer."""

    moved_bytes = 0

    def __init__(self) -> None:
        self.refused: set[PartitionId] = set()
        self.beside = 1

    async def begin(self, partitions: list[PartitionId]) -> dict[PartitionId, Exception]:
        return {}

    async def fill(self, partition: PartitionId) -> None:
        if partition in self.refused:
            raise Unavailable("too few owners answer")


async def test_a_copy_counts_once_it_is_filled_and_only_then() -> None:
    """Whatever moves to others meanwhile: else the alert for moves that stand still cannot fire."""
    members = [Member(NodeId(f"n{i}"), DiskId(f"{i:032x}"), f"127.0.0.1:{7100 + i}") for i in range(1, 5)]
    planned = with_members(first_topology("t", members[:3], partitions=16), MemberChanges(add=members[3:]))
    assert planned is not None
    seat = planned.member(NodeId("n4")).seat
    opened = advanced(planned, seat, filled={}, adopted={}, most=4)
    assert opened is not None
    topology = SimpleNamespace(current=opened)
    topology.serving_topology = lambda: topology.current
    filling, nothing, fails = Filling(), cast("Any", None), False

    async def by_another(change: Callable[[Topology, bool], Topology | None], within_s: float) -> None:
        topology.current = replace(topology.current, epoch=Epoch(topology.current.epoch + 1))
        if fails:
            raise Unavailable("a voter is away")

    mover = Mover(
        seat, topology=cast("Any", topology), watermarks=nothing, progress=nothing, steps=FillSteps(),
        filling=cast("Any", filling), former_copies=nothing, transport=nothing, change=by_another,
        count_hints=lambda: 0,
    )  # fmt: skip
    joining = [partition for partition, _ in mover._joining(opened, "joint-1")]
    assert len(joining) > 1
    filling.refused = {*joining}
    for _ in range(3):
        await mover._advance(topology.current)
    assert (mover.filled_copies, mover.pace.copies, mover.pace.fill_s) == (0, 0, 0.0)
    filling.refused, fails = {joining[0]}, True
    with pytest.raises(Unavailable):
        await mover._advance(topology.current)
    fails = False
    for _ in range(3):
        await mover._advance(topology.current)
    assert mover.filled_copies == len(joining) - 1
