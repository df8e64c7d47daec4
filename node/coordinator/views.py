"""What the coordinator shows of its jobs: values for people and programs, of no weight for the job itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.machine.job_summary import JobSummary

__all__ = ["AttemptLog", "JobView"]


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """What one ended attempt printed; `cause` is empty when it succeeded."""

    task: str
    attempt: int
    node: NodeId
    cause: str
    output: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One moment of a job, for who asks; the state itself is the job machine's and goes on changing."""

    job: str
    title: str  # module:object
    node: NodeId  # keeps the job
    output: str
    submitted_at: float  # wall clock, seconds
    seconds: float
    summary: JobSummary
    error: list[Any] | None  # ringmill.cluster.errors.to_wire, when FAILED or KILLED

    @property
    def state(self) -> str:
        """PENDING, RUNNING, SUCCEEDED, FAILED or KILLED; committing is a part of running."""
        return "RUNNING" if self.summary.state == "COMMITTING" else self.summary.state

    @property
    def is_over(self) -> bool:
        return self.state in {"SUCCEEDED", "FAILED", "KILLED"}
