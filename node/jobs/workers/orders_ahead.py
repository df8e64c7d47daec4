"""How many orders may wait at a node for the ones before them to end, so that its slots do not stand still
between two short tasks.

Pure.  For each slot one, or as many as take a tenth of a second, by the time that tasks of the stage have
taken in their slots there; at most 48, and no more than the node's share of half of the tasks that wait, so
that nodes end together.  Where tasks take longer than a quarter of a second there are none: what a message
takes does not matter then, and a task that waits for another one could run elsewhere.  It is a matter of cost
alone: no output depends on it, and it is in no journal.

Rule J22: docs/protocol/jobs.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.machine.job_events import Stage
from ringmill.node.node_options import CoordinatorOptions

__all__ = ["OrdersAhead"]

MOST: Final = 48  # a worker takes 64: there is room for those whose end it has not told
_LEAST_S: Final = 1e-4
_WEIGHT: Final = 4  # one in four: of the newest task in the mean


@dataclass(slots=True)
class OrdersAhead:
    """Of one job, or one stage of a chain: `ahead_s` of work wait, before tasks of less than `longest_s`."""

    ahead_s: float
    longest_s: float
    _usual_s: dict[tuple[Stage, NodeId], float] = field(default_factory=dict)  # of a task in its slot

    @classmethod
    def of(cls, options: CoordinatorOptions) -> OrdersAhead:
        return cls(options.ahead_s, options.ahead_longest_s)

    def ended(self, node: NodeId, stage: Stage, ran_s: float) -> None:
        """A node tells of a task that it has done."""
        former_s = self._usual_s.get((stage, node), ran_s)
        self._usual_s[stage, node] = former_s + (ran_s - former_s) / _WEIGHT

    def at(self, node: NodeId, stage: Stage, slots: int, not_begun: int, nodes: int) -> int:
        """How many may wait at a node while `not_begun` tasks wait for one, and `nodes` are at work."""
        usual_s = self._usual_s.get((stage, node), self.longest_s)
        if usual_s >= self.longest_s:
            return 0
        wanted = slots * max(1, int(self.ahead_s / max(usual_s, _LEAST_S)))
        return min(MOST, wanted, not_begun // (2 * max(1, nodes)))
