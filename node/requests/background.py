"""Work that continues after a request was answered: late acks, hints, write-backs.

One TaskGroup owns it.  Leaving the block waits for this work for a bounded time, then cancels it; each piece
of work handles its own cancellation (rule F4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

from ringmill.cluster.errors import Unavailable

__all__ = ["Background"]


class Background:
    """`async with Background(drain_s) as background: background.start(...)`."""

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._group = asyncio.TaskGroup()
        self._is_over = False
        self._running: dict[asyncio.Task[Any], None] = {}  # a dict, as it keeps the order of starting

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` now.  An error it does not handle ends the block, and with it the node.

        Raises Unavailable once the block has been left: nobody would see the work to its end.
        """
        if self._is_over:
            work.close()
            raise Unavailable("this node has stopped", outcome="unknown")
        task = self._group.create_task(work)
        self._running[task] = None
        task.add_done_callback(self._forget)
        return task

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
            if self._running and error is None:
                await asyncio.wait(list(self._running), timeout=self._drain_s)
        finally:
            self._is_over = True
            for task in list(self._running):
                task.cancel()
        await self._group.__aexit__(kind, error, trace)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.pop(task, None)
