"""Holds a job's other tasks back for a moment, until one attempt has shown that the job's code runs at all.

Pure.  While nothing of a job has passed, one attempt at a time runs.  An attempt passes when it has ended
well, has told of bytes that it has read, or has run for a moment, whatever comes of it then.  That moment is
about 3 % of the time that the job would take on two slots, and a job of few tasks has none, so that the wait
never costs more than it may save.  It is a matter of cost alone: no output depends on it.

Rule J16: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ringmill.cluster.mapreduce.machine.task_state import Attempt, AttemptState, Task

__all__ = ["Canary"]

FEW_TASKS: Final = 8
SHORTEST_S: Final = 0.05  # about what a task process needs to import a small module and meet its first record
LONGEST_S: Final = 0.25
BYTES_PER_S: Final = 1 << 30


@dataclass(slots=True)
class Canary:
    """Of one job.  What it keeps follows from the tasks' attempts."""

    has_passed: bool = field(default=False, compare=False)

    def free_at(self, maps: Sequence[Task], now: float) -> float:
        """From when on other tasks may start, in the job's time; not after `now` when they may."""
        if self.has_passed or len(maps) <= FEW_TASKS:
            return now
        patience_s = min(LONGEST_S, max(SHORTEST_S, sum(task.size for task in maps) / BYTES_PER_S))
        running = now
        for attempt in _attempts(maps):
            if _has_passed(attempt, patience_s, now):
                self.has_passed = True
                return now
            if attempt.state is AttemptState.RUNNING:
                running = max(running, attempt.began_at + patience_s)
        return running

    def ready(self, ready: Iterator[Task], maps: Sequence[Task]) -> Iterable[Task]:
        """Of the tasks that may start, in their order, those that may now: a canary that failed is tried
        again before any other, as only it shows whether its error repeats."""
        if self.has_passed or len(maps) <= FEW_TASKS:
            return ready
        return sorted(ready, key=lambda task: not task.attempts)[:1]


def _attempts(maps: Sequence[Task]) -> Iterator[Attempt]:
    for task in maps:
        yield from task.attempts


def _has_passed(attempt: Attempt, patience_s: float, now: float) -> bool:
    ended_at = now if attempt.state is AttemptState.RUNNING else attempt.ended_at
    return attempt.output is not None or attempt.bytes_done > 0 or ended_at - attempt.began_at >= patience_s
