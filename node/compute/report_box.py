"""The reports on attempts of one job that have ended, until the job's coordinator has them.

Those that end while others are on their way travel together in the next message: a task of a millisecond
costs less than telling of it.  A report that cannot be delivered is told as a failure.  So is one at which a
coordinator on this very node fails by a bug, which must not end the node.

See: docs/formats/worker_messages.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final

from ringmill.cluster.errors import InvalidArgument, NotFound, ProtocolMismatch, RingmillError
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport

__all__ = ["ReportBox"]

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_MOST: Final = 32
_MOST_BYTES: Final = 256 * 1024  # of printed output, which is what reports may be large by


class ReportBox:
    """`send` carries reports to the coordinator.  `begin` runs a coroutine in a task of the worker: an
    attempt that is stopped while it delivers must not take what comes back for others with it."""

    def __init__(
        self,
        send: Callable[[Sequence[AttemptReport]], Awaitable[None]],
        begin: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._send = send
        self._begin = begin
        self._waiting: dict[AttemptId, AttemptReport] = {}
        self._sending: asyncio.Task[None] | None = None
        self._is_over: NotFound | None = None
        self._changed = asyncio.Event()
        self._pause_s = _FIRST_PAUSE_S
        self._most = _MOST

    @property
    def waiting(self) -> int:
        """Reports that have not arrived."""
        return len(self._waiting)

    async def deliver(self, report: AttemptReport) -> None:
        """Returns once the report has arrived.  Raises NotFound when its job is over."""
        self._waiting[report.attempt] = report
        if self._sending is None:
            self._sending = self._begin(self._send_all())
        try:
            while report.attempt in self._waiting:
                await self._changed.wait()
                if self._is_over is not None:
                    raise self._is_over
        finally:
            self._waiting.pop(report.attempt, None)

    def close(self) -> None:
        """Send no more: whoever delivers is stopped."""
        if self._sending is not None:
            self._sending.cancel()

    async def _send_all(self) -> None:
        try:
            while self._waiting and self._is_over is None:
                await self._send_some()
        finally:
            self._sending = None

    async def _send_some(self) -> None:
        """One message, and a pause when it did not arrive."""
        batch = self._next()
        try:
            await self._send(batch)
        except NotFound as error:
            self._is_over = error
        except RingmillError as error:
            if isinstance(error, InvalidArgument | ProtocolMismatch):  # too large for a message, say
                self._refused(batch, error)
            await self._pause()
        except Exception as error:  # noqa: BLE001  a bug of this node as coordinator: the end of a job at most
            text = f"the coordinator failed: {type(error).__name__}: {error!s:.200}"
            self._refused(batch, RingmillError(text, outcome="unknown"))
            await self._pause()
        else:
            self._pause_s, self._most = _FIRST_PAUSE_S, min(2 * self._most, _MOST)
            for each in batch:
                self._waiting.pop(each.attempt, None)
        self._changed.set()
        self._changed = asyncio.Event()

    async def _pause(self) -> None:
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _next(self) -> list[AttemptReport]:
        batch: list[AttemptReport] = []
        size = 0
        for report in self._waiting.values():
            size += len(report.output)
            if batch and (len(batch) >= self._most or size > _MOST_BYTES):
                break
            batch.append(report)
        return batch

    def _refused(self, batch: Sequence[AttemptReport], error: RingmillError) -> None:
        """One of them is at fault: they are sent one by one, and that one is told all the same."""
        self._most = 1
        if len(batch) == 1:
            [report] = batch
            failure = TaskFailed(Cause.ENGINE_ERROR, f"its report was refused: {error}").to_wire()
            self._waiting[report.attempt] = replace(
                report, kind="failed", body=None, failure=failure, lost=None, figures=None, output=b""
            )
