"""The attempts that task processes run now; while there are any, they are reported now and then, and the
memory that is left beside them is looked after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.overload.node_memory import LOOK_S
from ringmill.node.compute.attempt_runner import AttemptRunner
from ringmill.node.compute.stints.memory_watch import MemoryWatch

__all__ = ["AtWork"]


class AtWork:
    """`tell` is called with them every `every_s()` seconds, in a task that `begin` makes.  `watch`
    looks after memory."""

    def __init__(
        self,
        tell: Callable[[Sequence[AttemptRunner]], None],
        every_s: Callable[[], float],
        begin: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        watch: MemoryWatch,
    ) -> None:
        self._tell = tell
        self._every_s = every_s
        self._begin = begin
        self._watch = watch
        self._attempts: dict[tuple[str, AttemptId], AttemptRunner] = {}
        self._telling: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._attempts)

    @property
    def refusal(self) -> TaskFailed | None:
        """How an attempt ends that has not begun now; None while it may begin."""
        return self._watch.why_not

    def begins(self, attempt: AttemptRunner) -> None:
        self._attempts[attempt.name] = attempt
        if self._telling is None:
            self._telling = self._begin(self._tell_now_and_then())
        if self._watching is None and self._watch.is_told:
            self._watching = self._begin(self._watch_memory())

    def rests(self, attempt: AttemptRunner) -> None:
        """No process is at it any more."""
        self._attempts.pop(attempt.name, None)

    def close(self) -> None:
        """Tell and watch no more."""
        for task in (self._telling, self._watching):
            if task is not None:
                task.cancel()

    async def _tell_now_and_then(self) -> None:
        """For as long as there was any: between two short ones there may be none for a moment."""
        while self._attempts:
            await asyncio.sleep(self._every_s())
            self._tell(list(self._attempts.values()))
        self._telling = None

    async def _watch_memory(self) -> None:
        while self._attempts:
            await asyncio.sleep(LOOK_S)
            await self._watch.look(list(self._attempts.values()))
        self._watching = None
