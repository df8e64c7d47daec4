"""The outcome of a task that ran in another process, as a value: exceptions do not survive pickling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from ringmill.cluster.errors import JobFailed
from ringmill.cluster.mapreduce.failures import TaskFailed

__all__ = ["Outcome", "ProcessEnded", "outcome_of", "result_of"]

_MOST_NAMED: Final = 8

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    value: R


@dataclass(frozen=True, slots=True)
class Failed:
    failure: list[Any]


@dataclass
class ProcessEnded(TaskFailed):
    """A process ended while it ran one of some tasks of a stage, by their numbers: nobody knows which."""

    tasks: tuple[int, ...] = ()

    def as_stage_error(self, stage: str) -> JobFailed:
        """The error of the job, which names no task that may have done nothing."""
        names = [f"{stage}-{number}" for number in self.tasks]
        if len(names) == 1:
            return self.as_job_error(names[0], 1)
        shown = ", ".join(names[:_MOST_NAMED]) + (" ..." if len(names) > _MOST_NAMED else "")
        which = f"one of {shown}, which ran then" if names else f"a {stage} task"
        detail = {"tasks": names, "cause": str(self.cause), "message": self.message}
        return JobFailed(f"{which}: {self}", detail=detail)


Outcome: TypeAlias = Done[R] | Failed


def outcome_of(run: Callable[[T], R], task: T) -> Outcome[R]:
    """What `run` returns, or the TaskFailed that it raises."""
    try:
        return Done(run(task))
    except TaskFailed as failure:
        return Failed(failure.to_wire())


def result_of(outcome: Outcome[R]) -> R:
    """Raises TaskFailed."""
    if isinstance(outcome, Failed):
        raise TaskFailed.from_wire(outcome.failure)
    return outcome.value
