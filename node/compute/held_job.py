"""What a worker holds of one job, from its first order until the job is dropped."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.worker_messages import Assignment
from ringmill.cluster.traces.spans import Notes, Span, Tracer
from ringmill.cluster.traces.stage_places import stage_place
from ringmill.node.compute.report_box import ReportBox

__all__ = ["HeldJob"]

_LONG_S: Final = 0.05  # of a map of which nothing is known
_WEIGHT: Final = 4  # one in four: of the newest map in the mean


@dataclass(slots=True)
class HeldJob:
    """See the module's docstring."""

    start: str  # of the worker, as the job's coordinator is told it
    coordinator: NodeId
    heard_at: float
    reports: ReportBox
    trace: bytes = b""  # of which trace it is, as its coordinator has said with an order
    attempts: dict[AttemptId, asyncio.Task[None]] = field(default_factory=dict)
    finished: set[AttemptId] = field(default_factory=set)
    usual_s: float = _LONG_S  # of a map, but for its wait and the start of its process

    def knows(self, attempt: AttemptId) -> bool:
        """Whether it was ordered before (rule J1)."""
        return attempt in self.attempts or attempt in self.finished

    @property
    def unended(self) -> int:
        """Attempts that wait for a slot or run."""
        return len(self.attempts) - self.reports.waiting

    def note_map(self, ran_s: float) -> None:
        """A map was done."""
        self.usual_s += (ran_s - self.usual_s) / _WEIGHT

    def end(self, attempt: AttemptId, _: asyncio.Task[None]) -> None:
        del self.attempts[attempt]
        self.finished.add(attempt)

    def begun_span(self, tracer: Tracer | None, assignment: Assignment) -> Span | None:
        """Of an attempt, below that of its stage; None where the job is not traced."""
        attempt = assignment.attempt
        if tracer is None or not self.trace:
            return None
        notes: Notes = {
            "ringmill.job": assignment.job,
            "ringmill.stage": attempt.stage,
            "ringmill.task": attempt.task,
            "ringmill.attempt": attempt.number,
        }
        parent = stage_place(self.trace, attempt.stage, assignment.spec)
        return tracer.begin("ringmill.task", kind="internal", parent=parent, notes=notes)
