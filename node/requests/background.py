"""Work that continues after a request was answered: late acks, hints, write-backs.

One TaskGroup owns it.  Leaving the block waits for this work for a bounded time, then cancels it; each piece
of work handles its own cancellation (rule F4).  A stop also leaves something to what comes after it (rule
T10).  Work without a task, because it only waits for answers, is registered by `keep`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, TypeVar

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.membership.stop_time import StopTime

__all__ = ["Background", "Unfinished"]

T = TypeVar("T")


class Unfinished(Protocol):
    """Work that waits for answers without a task."""

    def abandon(self) -> Coroutine[Any, Any, None]:
        """The node stops and no answer is waited for any more: leave behind what has to be left."""
        ...


class Background:
    """`async with Background(drain_s) as background: background.start(...)`."""

    def __init__(self, drain_s: float, stop_time: StopTime | None = None) -> None:
        self._drain_s = drain_s
        self._stop_time = stop_time
        self._group = asyncio.TaskGroup()
        self._is_over = False
        self._running: dict[asyncio.Task[Any], None] = {}  # a dict, as it keeps the order of starting
        self._kept: dict[Unfinished, None] = {}
        self._none_kept: asyncio.Event | None = None

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` now.  An error it does not handle ends the block, and with it the node.

        Raises Unavailable once the block has been left: nobody would see the work to its end.
        """
        if self._is_over:
            work.close()
            raise Unavailable("this node has stopped", outcome="unknown")
        task = self._group.create_task(work)
        self._running[task] = None
        task.add_done_callback(self._end)
        return task

    @property
    def is_over(self) -> bool:
        """The block has been left: nothing can be started any more."""
        return self._is_over

    def keep(self, work: Unfinished) -> None:
        """Leaving the block waits for this until `forget`, or has it abandoned."""
        self._kept[work] = None

    def forget(self, work: Unfinished) -> None:
        """It is finished."""
        self._kept.pop(work, None)
        if self._none_kept is not None and not self._kept:
            self._none_kept.set()

    async def __aenter__(self) -> Background:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._waits_s()):
                        await self._finished()
        except GeneratorExit as closed:
            error = closed
            raise
        finally:
            self._is_over = True
            for task in list(self._running):
                task.cancel()
            if not isinstance(error, GeneratorExit):  # then nothing can be awaited any more
                await self._abandon()
        await self._group.__aexit__(kind, error, trace)

    def _waits_s(self) -> float:
        return self._drain_s if self._stop_time is None else self._stop_time.within(self._drain_s)

    async def _abandon(self) -> None:
        """Not by the group: one that is left by an error takes no task, and cancels those it has before their
        first step."""
        leaving = [asyncio.ensure_future(work.abandon()) for work in list(self._kept)]
        if leaving:
            await asyncio.wait(leaving)
            for one in leaving:
                if not one.cancelled() and (bug := one.exception()) is not None:
                    raise bug

    async def _finished(self) -> None:
        while self._running or self._kept:
            if self._running:
                await asyncio.wait(list(self._running))
            else:
                self._none_kept = asyncio.Event()
                await self._none_kept.wait()

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._running.pop(task, None)
