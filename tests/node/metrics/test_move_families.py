"""What is served about moves, by which an alert tells those that do not go on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.plans.moving_rate import MeasuredMoves
from ringmill.node.metrics.upkeep_families import _moves


def test_the_bytes_of_a_copy_count_while_it_is_being_filled() -> None:
    """A large copy takes longer than the alert waits."""
    moves = SimpleNamespace(
        mover=SimpleNamespace(pace=MeasuredMoves(size_bytes=100, copies=1)),
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
