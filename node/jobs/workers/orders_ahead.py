"""How many orders may wait at a node for the ones before them to end, so that its slots do not stand still
between two short tasks.

Pure.  One, or as many as the node carries out in a twentieth of a second, by the pace at which it has ended
tasks of the stage; at most 16, and no more than its share of half of the tasks that wait, so that nodes end
together.  Where tasks take longer than a quarter of a second there are none: what a message takes does not
matter then, and a task that waits for another one could run elsewhere.  It is a matter of cost alone: no
output depends on it, and it is in no journal.

Rule J22: docs/protocol/jobs.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.machine.job_events import Stage

__all__ = ["OrdersAhead"]

AHEAD_S: Final = 0.05
"""Of work: more than messages take there and back, with the sync of the journal.  Chosen."""
LONGEST_S: Final = 0.25
"""Of a task before which another one may wait.  Chosen."""
MOST: Final = 16
_LEAST_GAP_S: Final = 1e-4
_WEIGHT: Final = 4  # one in four: of the newest gap in the pace


@dataclass(slots=True)
class OrdersAhead:
    """Of one job, or one stage of a chain."""

    _gaps: dict[tuple[Stage, NodeId], float] = field(default_factory=dict)  # seconds a task
    _heard_at: dict[NodeId, float] = field(default_factory=dict)

    def ended(self, node: NodeId, stage: Stage, tasks: int, began_at: float, now: float) -> None:
        """A node tells of some tasks that it has done, the first of them begun at `began_at`."""
        gap = (now - max(began_at, self._heard_at.get(node, began_at))) / tasks
        former = self._gaps.get((stage, node), gap)
        self._gaps[stage, node] = former + (gap - former) / _WEIGHT
        self._heard_at[node] = now

    def at(self, node: NodeId, stage: Stage, not_begun: int, nodes: int) -> int:
        """How many may wait at a node while `not_begun` tasks wait for one and `nodes` are at work."""
        gap = self._gaps.get((stage, node), LONGEST_S)
        if gap >= LONGEST_S:
            return 0
        wanted = max(1, int(AHEAD_S / max(gap, _LEAST_GAP_S)))
        return min(MOST, wanted, not_begun // (2 * max(1, nodes)))
