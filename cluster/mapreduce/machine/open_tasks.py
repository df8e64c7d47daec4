"""Which tasks of a stage have to be looked at, so that a job of many tasks does not look at all of them at
every event.

Pure.  Tasks begin about in their order and end about in their order.  So those that are done are mostly at
the front, those that have not begun are mostly at the end, and what is between them is about as much as there
are slots, and orders ahead.  Of these none waits again unless an attempt ended that has not won.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from ringmill.cluster.mapreduce.machine.task_state import Task

__all__ = ["OpenTasks", "Usual"]

_DONE_SHARE: Final = 0.75


@dataclass(frozen=True, slots=True)
class Usual:
    """Of the tasks of a stage that are done: medians of seconds and bytes, and bytes a second together."""

    seconds: float
    size: float
    rate: float

    def seconds_for(self, task: Task) -> float:
        """How long a task usually runs: longer than the median only if it has more bytes."""
        return self.seconds * max(1.0, task.size / self.size if self.size else 1.0)


@dataclass(slots=True)
class OpenTasks:
    """Of a list of tasks, whose indexes are their places.  It is told when one begins or opens again, and
    when an attempt ends that has not won."""

    tasks: Sequence[Task] = ()
    _done: int = 0  # how many at the front are done
    _begun: int = field(init=False)  # no task from this place on has begun
    _left: Sequence[Task] | None = None  # those that were not done when looked at; None: not looked yet
    _usual: tuple[int, Usual | None] | None = None  # while as many are left
    _none_waits: bool = False  # of those that have begun

    def __post_init__(self) -> None:
        self._begun = 1 + max((task.index for task in self.tasks if task.attempts), default=-1)

    @property
    def not_begun(self) -> int:
        """How many tasks at the end of the list have not begun."""
        return len(self.tasks) - self._begun

    def begins(self, task: Task) -> None:
        """An attempt of a task begins, which may be one of another list."""
        if task in self:
            self._none_waits = self._none_waits and task.index <= self._begun  # else others were passed over
            self._begun = max(self._begun, task.index + 1)

    def opens_again(self, task: Task) -> None:
        """It is not done any more; it may be one of another list."""
        if task in self:
            self._done = min(self._done, task.index)
            self._left = self._usual = None
        self._none_waits = False

    def attempt_ends(self) -> None:
        """An attempt has failed or is stopped, so that its task may wait again."""
        self._none_waits = False

    def __contains__(self, task: Task) -> bool:
        return task.index < len(self.tasks) and self.tasks[task.index] is task

    def begun(self) -> list[Task]:
        """Those that are not done, up to the last that has begun."""
        tasks = self.tasks
        while self._done < self._begun and tasks[self._done].winner is not None:
            self._done += 1
        return [task for task in tasks[self._done : self._begun] if task.winner is None]

    def left(self) -> Sequence[Task]:
        """All that are not done."""
        before = self.tasks if self._left is None else self._left
        self._left = [task for task in before if task.winner is None]
        return self._left

    def usual(self) -> Usual | None:
        """What is usual in the stage; None until three quarters of the tasks are done, or all but one."""
        left = len(self.left())
        if self._usual is None or self._usual[0] != left:
            self._usual = left, _usual_of(self.tasks)
        return self._usual[1]

    def ready(self, now: float) -> Iterator[Task]:
        """Those that may start, in their order."""
        yield from (task for task in self._waiting() if task.not_before <= now)
        for place in range(self._begun, len(self.tasks)):
            yield self.tasks[place]

    def pauses(self, now: float) -> list[float]:
        """When the tasks may start that wait after a failure: anywhere else, and then where they failed."""
        times = [at for task in self._waiting() for at in (task.not_before, task.open_to_all_at)]
        return [at for at in times if at > now]

    def _waiting(self) -> list[Task]:
        """Those that have begun and wait again."""
        if self._none_waits:
            return []
        waiting = [task for task in self.begun() if task.is_waiting]
        self._none_waits = not waiting
        return waiting


def _usual_of(tasks: Sequence[Task]) -> Usual | None:
    done = [task for task in tasks if task.winner is not None]
    if not done or len(done) < min(_DONE_SHARE * len(tasks), len(tasks) - 1):
        return None
    seconds = [task.winner.seconds for task in done if task.winner is not None]
    sizes = [task.size for task in done]
    return Usual(median(seconds), median(sizes), sum(sizes) / sum(seconds) if sum(seconds) else 0.0)
