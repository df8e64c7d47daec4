"""The values that show jobs to people and programs; the jobs themselves do not use them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.machine.job_summary import JobSummary

__all__ = ["AttemptLog", "JobView"]


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """The output of one ended attempt; `cause` is "" when it succeeded."""

    task: str
    attempt: int
    node: NodeId
    cause: str
    output: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """The state of a job at one moment."""

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
