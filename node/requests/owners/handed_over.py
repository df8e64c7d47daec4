"""A write that was handed to an owner, and to further ones when that one falls silent.

An attempt whose owner is silent stays under way, and its answer counts as long as no other one has come
first.  What may follow is decided in node/requests/forward.py.  Rule W4: docs/protocol/writes.md.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from ringmill.cluster.callbacks import report_failed
from ringmill.cluster.errors import RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.silence import SilenceWatch
from ringmill.node.requests.background import Background

__all__ = ["HandedOver", "OneOwner"]


class OneOwner:
    """The attempt at one owner.  `begun_at` is on the loop's clock."""

    __slots__ = ("_write", "answer", "begun_at", "is_silent", "node", "slow_at")

    def __init__(self, write: HandedOver, node: NodeId, begun_at: float) -> None:
        self._write = write
        self.node = node
        self.begun_at = begun_at
        self.slow_at = math.inf
        self.is_silent = False
        self.answer: bytes | RingmillError = Unavailable("this node has stopped", outcome="unknown")

    async def run(self, call: Callable[[], Coroutine[Any, Any, bytes]]) -> None:
        try:
            self.answer = await call()
        except RingmillError as error:
            self.answer = error
        except Exception as error:  # noqa: BLE001 - a bug: it ends this attempt, and not the node
            report_failed(self.run, error)
            self.answer = Unavailable(f"the attempt at {self.node} broke off: {error}", outcome="unknown")

    def silent(self, error: RingmillError) -> None:
        """Its owner is silent; it stays under way."""
        self.is_silent = True
        self._write._report(error)

    def slow(self) -> None:
        """Never told: a write stays with an owner that is slow."""


class HandedOver:
    """All attempts of one write.  Used by one task."""

    def __init__(self, background: Background, watch: SilenceWatch) -> None:
        self._background = background
        self._watch = watch
        self._under_way: dict[OneOwner, None] = {}
        self._news: deque[bytes | RingmillError] = deque()
        self._has_news = asyncio.Event()
        self._doubt: RingmillError | None = None
        self.unsure = 0
        """Attempts that were done, or may have been, or may still be."""
        self.further = 0

    @property
    def are_under_way(self) -> bool:
        """Whether one may still be answered."""
        return bool(self._under_way or self._news)

    @property
    def are_expected(self) -> bool:
        """Whether one is under way whose owner is not known to be silent."""
        return any(not attempt.is_silent for attempt in self._under_way)

    def begin(self, node: NodeId, call: Callable[[], Coroutine[Any, Any, bytes]]) -> None:
        """Send it to one more owner; `call` does so."""
        attempt = OneOwner(self, node, asyncio.get_running_loop().time())
        try:
            task = self._background.start(attempt.run(call))
        except Unavailable as error:  # this node stops
            self._report(error.with_outcome("failed"))
            return
        self.unsure += 1
        self._under_way[attempt] = None
        self._watch.begin(node, attempt)
        task.add_done_callback(partial(self._end, attempt))

    async def news(self) -> bytes | RingmillError:
        """What came next of any of them: an answer, an error, or that the owner of one is silent."""
        await self._has_news.wait()
        answer = self._news.popleft()
        if not self._news:
            self._has_news.clear()
        return answer

    async def unless_told(self, choosing: Coroutine[Any, Any, NodeId | None]) -> NodeId | None:
        """The next owner; None when there is none, or when there is news first."""
        if not self._under_way:
            return await choosing
        choice = asyncio.ensure_future(choosing)
        news = asyncio.ensure_future(self._has_news.wait())
        try:
            await asyncio.wait({choice, news}, return_when=asyncio.FIRST_COMPLETED)
            return None if self._news else choice.result()
        finally:
            choice.cancel()
            news.cancel()

    def final(self, error: RingmillError) -> RingmillError:
        """What the caller is told when all have ended without an answer, the last one with `error`."""
        return self._doubt if error.outcome == "failed" and self.unsure and self._doubt else error

    def _end(self, attempt: OneOwner, task: asyncio.Task[None]) -> None:
        self._under_way.pop(attempt)
        self._watch.end(attempt.node, attempt)
        if isinstance(attempt.answer, RingmillError) and attempt.answer.outcome == "failed":
            self.unsure -= 1
        self._report(attempt.answer)

    def _report(self, answer: bytes | RingmillError) -> None:
        if isinstance(answer, RingmillError) and answer.outcome != "failed":
            self._doubt = answer
        self._news.append(answer)
        self._has_news.set()
