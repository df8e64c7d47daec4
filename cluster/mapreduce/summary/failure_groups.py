"""The failures of a job's attempts, alike ones told once: "x47 UserError: ..., first: map-0.1".

Pure: computed from a job's state machine.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.mapreduce.failures import Cause
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.task_state import Attempt

__all__ = ["FailureGroup", "failure_groups"]

MOST_GROUPS: Final = 20
_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Attempts that failed with the same cause and the same first line: how many, and which was the first."""

    cause: str
    error: str
    count: int
    first: str  # "map-0.1"

    def __str__(self) -> str:
        return f"x{self.count} {self.cause}: {self.error}, first: {self.first}"


def failure_groups(machine: JobMachine) -> tuple[FailureGroup, ...]:
    """The most frequent first; at most MOST_GROUPS."""
    firsts: dict[tuple[Cause, str], Attempt] = {}
    counts: Counter[tuple[Cause, str]] = Counter()
    for task in (*machine.maps, *machine.reduces):
        for attempt in task.attempts:
            if attempt.failure is None:
                continue
            kind = attempt.failure.cause, attempt.failure.message.partition("\n")[0][:_CHARS]
            counts[kind] += 1
            first = firsts.setdefault(kind, attempt)
            firsts[kind] = min(first, attempt, key=lambda each: each.ended_at)
    return tuple(
        FailureGroup(str(cause), error, count, str(firsts[cause, error].id))
        for (cause, error), count in counts.most_common(MOST_GROUPS)
    )
