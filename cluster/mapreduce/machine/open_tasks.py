"""Which tasks of a stage have to be looked at, so that a job of many tasks does not look at all of them at
every event.

Pure.  Tasks begin about in their order and end about in their order.  So those that are done are mostly at
the front, those that have not begun are mostly at the end, and what is between them is about as much as there
are slots, and orders ahead.  Of these none waits again unless an attempt ended that has not won.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ringmill.cluster.mapreduce.machine.task_state import Task

__all__ = ["OpenTasks"]


@dataclass(slots=True)
class OpenTasks:
    """Of a list of tasks, whose indexes are their places.  It is told when one begins or opens again, and
    when an attempt ends that has not won."""

    tasks: Sequence[Task] = ()
    _done: int = 0  # how many at the front are done
    _begun: int = field(init=False)  # no task from this place on has begun
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

    def ready(self, now: float) -> Iterator[Task]:
        """Those that may start, in their order."""
        yield from (task for task in self._waiting() if task.not_before <= now)
        for place in range(self._begun, len(self.tasks)):
            yield self.tasks[place]

    def pauses(self, now: float) -> list[float]:
        """When the tasks may start that wait after a failure."""
        return [task.not_before for task in self._waiting() if task.not_before > now]

    def _waiting(self) -> list[Task]:
        """Those that have begun and wait again."""
        if self._none_waits:
            return []
        waiting = [task for task in self.begun() if task.is_waiting]
        self._none_waits = not waiting
        return waiting
