"""Says when a plan is to be given up because a node that joins partitions is up and stands still.

As long as a partition is joint each write needs one ack more (rule M1).  A joiner whose disk is full answers
all the same, so nobody sees it down.  Pure; times are seconds of a monotonic clock.  Rule M7:
docs/protocol/moves.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.cluster.ring.moves import sources_for
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.ring.topology_entries import JOINT_1

__all__ = ["STANDS_S", "StandingJoiners", "joint_rows"]

STANDS_S: Final = 600.0

Rows = tuple[tuple[PartitionId, Epoch], ...]
"""The joint rows of a joiner, and the epoch of each: any step of a move changes them."""


class _Stand(NamedTuple):
    since: float
    rows: Rows
    steps: int


class StandingJoiners:
    """What one voter has been told by the joiners, look by look."""

    def __init__(self) -> None:
        self._stands: dict[NodeId, _Stand] = {}

    def to_ask(self, topology: Topology, is_up: Callable[[NodeId], bool]) -> list[NodeId]:
        """The joiners that are up and could go on: enough old owners of each are up to be read (M4).

        While most voters seem to be down nothing could go on, and nobody is asked; nor while an operator
        has paused the plan.
        """
        if topology.is_paused or 2 * sum(map(is_up, topology.voter_nodes)) <= len(topology.voters):
            return []
        able: dict[NodeId, bool] = {}
        for row in topology.rows:
            if row.joiner is not None and row.phase == JOINT_1:
                has_sources = sum(map(is_up, row.whole)) >= sources_for(topology, row)
                able[row.joiner.node] = able.get(row.joiner.node, True) and has_sources
        return [node for node, is_able in able.items() if is_able and is_up(node)]

    def look(
        self,
        topology: Topology,
        told: Mapping[NodeId, int],
        now: float,
        *,
        later_s: float = 0.0,
    ) -> tuple[NodeId, Rows] | None:
        """The joiner that the plan is given up for, and its rows; None to go on.

        `told`: the steps of those that were asked and have answered; the others begin anew when they do.
        `later_s`: another node is to say so first.  While the plan is paused nothing counts.
        """
        if topology.is_paused:
            self.forget()
            return None
        stands: dict[NodeId, _Stand] = {}
        for node, steps in told.items():
            rows, before = joint_rows(topology, node), self._stands.get(node)
            has_stood = before is not None and (before.rows, before.steps) == (rows, steps)
            stands[node] = before if before is not None and has_stood else _Stand(now, rows, steps)
        self._stands = stands
        for node, stand in stands.items():
            if now - stand.since >= STANDS_S + later_s:
                return node, stand.rows
        return None

    def forget(self) -> None:
        """Count anew from the next look on."""
        self._stands.clear()


def joint_rows(topology: Topology, node: NodeId) -> Rows:
    """The rows that this node joins."""
    return tuple(
        (PartitionId(number), row.row_epoch)
        for number, row in enumerate(topology.rows)
        if row.joiner is not None and row.joiner.node == node
    )
