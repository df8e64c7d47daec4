"""Says when a plan is to be given up because a node that joins partitions stays away.

As long as a partition is joint each write needs one ack more (rule M1), so a joiner that is gone costs the
others their slack.  Pure; times are seconds of a monotonic clock.  Rule M7: docs/protocol/moves.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.ring.topology_entries import Row

__all__ = ["AWAY_S", "BLOCKED_S", "AwayJoiners"]

AWAY_S: Final = 600.0
BLOCKED_S: Final = 60.0


class AwayJoiners:
    """What one node has seen of the joiners, look by look."""

    def __init__(self) -> None:
        self._away: dict[NodeId, float] = {}
        self._blocking: dict[NodeId, float] = {}

    def look(
        self, topology: Topology, is_up: Callable[[NodeId], bool], now: float, *, later_s: float = 0.0
    ) -> tuple[NodeId, str] | None:
        """The joiner that the plan is given up for and why; None to go on.

        It has been away for AWAY_S, or for BLOCKED_S has kept a majority of old owners that are up from being
        one in the joint.  `later_s`: another node is to say so first.  While most voters seem to be down it
        may be this node that is away, and nothing counts.  While an operator has paused the plan only one
        that blocks counts.
        """
        if 2 * sum(map(is_up, topology.voter_nodes)) <= len(topology.voters):
            self.forget()
            return None
        rows = [row for row in topology.rows if row.joiner is not None and not is_up(row.joiner.node)]
        away = set() if topology.is_paused else {_joiner(row) for row in rows}
        blocking = {_joiner(row) for row in rows if _blocks(row, is_up)}
        self._away = {node: self._away.get(node, now) for node in sorted(away)}
        self._blocking = {node: self._blocking.get(node, now) for node in sorted(blocking)}
        for node, since in self._blocking.items():
            if now - since >= BLOCKED_S + later_s:
                return node, f"{node} is away, and without it partitions that it joins take no writes"
        for node, since in self._away.items():
            if now - since >= AWAY_S + later_s:
                return node, f"{node}, which joins partitions, has been away for {now - since:.0f} s"
        return None

    def forget(self) -> None:
        """Count anew from the next look on."""
        self._away.clear()
        self._blocking.clear()


def _joiner(row: Row) -> NodeId:
    assert row.joiner is not None, "the row is joint"
    return row.joiner.node


def _blocks(row: Row, is_up: Callable[[NodeId], bool]) -> bool:
    up = sum(map(is_up, row.whole))
    return row.size // 2 + 1 <= up < row.majority
