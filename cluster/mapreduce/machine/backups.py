"""Decides which running tasks get a backup attempt on another node, and from when on.

Pure.  Nothing fails when a node is only slow, and its tasks would be the last of their stage.  So when three
quarters of a stage's tasks are done, or all but one, a task that has run for 1.5 times as long as is usual
for its bytes, and at less than 0.75 of the stage's rate, is run once more elsewhere; the first commit wins
(rule J2).  Usual is the median of the tasks that are done.  Their number at a time is bounded, so that the
wasted work is.

Rule J17: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.machine.open_tasks import OpenTasks, Usual
from ringmill.cluster.mapreduce.machine.task_state import Attempt, AttemptState, Task

__all__ = [
    "LEAST_S", "Slow", "may_begin_another", "slow_from", "slow_task", "told_of_backup",
]  # fmt: skip

LEAST_S: Final = 1.0
"""A task that has run for less is never backed up: beginning anew costs about as much."""
_TIMES_USUAL: Final = 1.5
_RATE_SHARE: Final = 0.75
_LEAST_AT_A_TIME: Final = 2
_SHARE_OF_RUNNING: Final = 10  # one in ten
_SHARE_OF_ALL: Final = 100


class Slow(NamedTuple):
    """A task counts as slow from a time of the job on, when its one attempt is still running."""

    at: float
    task: Task
    attempt: Attempt


def slow_from(stage: OpenTasks) -> Iterator[Slow]:
    """The tasks of a stage that have one running attempt and may have a backup; none while a task waits, as
    it comes first."""
    left = stage.left()
    if not left or any(task.is_waiting for task in left):
        return
    if (usual := stage.usual()) is None:
        return
    for task in left:
        running = [each for each in task.attempts if each.state is AttemptState.RUNNING]
        if len(running) == 1:
            [attempt] = running
            yield Slow(attempt.began_at + _patience_s(task, attempt, usual), task, attempt)


def _patience_s(task: Task, attempt: Attempt, usual: Usual) -> float:
    too_long = max(LEAST_S, _TIMES_USUAL * usual.seconds_for(task))
    return max(too_long, attempt.bytes_done / (_RATE_SHARE * usual.rate)) if usual.rate else too_long


def may_begin_another(tasks: Sequence[Task]) -> bool:
    """Whether fewer backup attempts of a job run than may run at once."""
    running = [each for task in tasks for each in task.attempts if each.state is AttemptState.RUNNING]
    most = max(_LEAST_AT_A_TIME, len(running) // _SHARE_OF_RUNNING, len(tasks) // _SHARE_OF_ALL)
    return sum(each.is_backup for each in running) < most


def slow_task(stage: OpenTasks, tasks: Sequence[Task], node: NodeId, now: float) -> Task | None:
    """The slowest task of a stage that a node may run a backup attempt of; `tasks` are all of the job."""
    slow = [each for each in slow_from(stage) if each.at <= now]
    if not slow or any(each.attempt.node == node for each in slow):
        return None
    if not may_begin_another(tasks):
        return None
    slow.sort(key=lambda each: (each.at, each.task.index))
    return next((each.task for each in slow if not each.task.has_failed_on(node)), None)


def told_of_backup(task: Task, stage: OpenTasks, backup: str, now: float) -> str:
    """Why a backup attempt of a task begins, for people."""
    usual = stage.usual()
    rest = "" if usual is None else f", {usual.seconds_for(task):.1f} s is usual"
    slow = next(each for each in task.attempts if each.state is AttemptState.RUNNING)
    return f"{backup} is a backup: {slow.id} on {slow.node} has run {now - slow.began_at:.1f} s{rest}"
