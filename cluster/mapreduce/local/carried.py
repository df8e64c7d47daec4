"""The outcome of a task that ran in another process, as a value: exceptions do not survive pickling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from ringmill.cluster.mapreduce.failures import TaskFailed

__all__ = ["Outcome", "outcome_of", "result_of"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    value: R


@dataclass(frozen=True, slots=True)
class Failed:
    failure: list[Any]


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
