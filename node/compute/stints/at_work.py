"""The attempts that task processes run now; while there are any, they are reported now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.node.compute.attempt_runner import AttemptRunner

__all__ = ["AtWork"]


class AtWork:
    """`tell` is called with them every `every_s()` seconds, in a task that `begin` makes."""

    def __init__(
        self,
        tell: Callable[[Sequence[AttemptRunner]], None],
        every_s: Callable[[], float],
        begin: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._tell = tell
        self._every_s = every_s
        self._begin = begin
        self._attempts: dict[tuple[str, AttemptId], AttemptRunner] = {}
        self._telling: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._attempts)

    def begins(self, attempt: AttemptRunner) -> None:
        self._attempts[attempt.name] = attempt
        if self._telling is None:
            self._telling = self._begin(self._tell_now_and_then())

    def rests(self, attempt: AttemptRunner) -> None:
        """No process is at it any more."""
        self._attempts.pop(attempt.name, None)

    def close(self) -> None:
        """Tell no more."""
        if self._telling is not None:
            self._telling.cancel()

    async def _tell_now_and_then(self) -> None:
        """For as long as there was any: between two short ones there may be none for a moment."""
        while self._attempts:
            await asyncio.sleep(self._every_s())
            self._tell(list(self._attempts.values()))
        self._telling = None
