"""Which slots of which workers this coordinator's jobs hold.

Pure bookkeeping.  A worker reports how many slots it has; until then it has none.  The coordinator of another
job may use the same worker; an assignment then waits there for its turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.machine.job_events import AttemptId

__all__ = ["Slots"]


@dataclass(slots=True)
class Slots:
    _capacity: dict[NodeId, int] = field(default_factory=dict)
    _held: dict[NodeId, dict[tuple[str, AttemptId], None]] = field(default_factory=dict)

    def learn(self, node: NodeId, slots: int) -> None:
        self._capacity[node] = slots

    def is_free(self, node: NodeId) -> bool:
        return len(self._held.get(node, ())) < self._capacity.get(node, 0)

    def take(self, node: NodeId, job: str, attempt: AttemptId) -> None:
        assert self.is_free(node), f"{node} has no free slot for {attempt}"
        self.hold(node, job, attempt)

    def hold(self, node: NodeId, job: str, attempt: AttemptId) -> None:
        """Of an attempt that runs already, as a former coordinator has told."""
        self._held.setdefault(node, {})[job, attempt] = None

    def release(self, node: NodeId, job: str, attempt: AttemptId) -> None:
        del self._held[node][job, attempt]

    def held_by(self, job: str) -> list[tuple[NodeId, AttemptId]]:
        return [
            (node, attempt) for node, held in self._held.items() for holder, attempt in held if holder == job
        ]
