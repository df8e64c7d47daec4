"""Watches from a thread whether the event loop of this process still turns, and says where it stands still.

A loop that stands still answers nothing, not even the question why; from outside it looks like a dead node.
So a thread asks the loop twice a second for a sign of life.  After a second without one it logs the stack of
the loop's thread, and `reason` says so for a while.  When the loop turns again it is told for how long it
stood still, so that this node doubts itself rather than others.  Rule O1: docs/protocol/overload.md.

A stall of 1.5 s is always seen, one of 1 s if it begins as the thread asks.  A process that was stopped as a
whole is none: its thread stood still as well.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Final, Self

from ringmill.cluster.meters.histogram import Histogram
from ringmill.cluster.meters.request_meter import METER_BITS

__all__ = ["LoopWatchdog"]

ASK_EVERY_S: Final = 0.5
STALL_S: Final = 1.0
TELL_FOR_S: Final = 60.0
ENDING_S: Final = 0.5  # for a thread that is about to write to the log; it is a daemon
_MOST_FRAMES: Final = 40
_log = logging.getLogger(__name__)


class LoopWatchdog:
    """Watches the running loop for as long as it is entered.

    `stood_still` is called on the loop after each stall, with its length in seconds.
    """

    def __init__(
        self,
        stood_still: Callable[[float], None],
        *,
        stall_s: float = STALL_S,
        ask_every_s: float = ASK_EVERY_S,
    ) -> None:
        self._stood_still = stood_still
        self._stall_s = stall_s
        self._ask_every_s = ask_every_s
        self._answered = threading.Event()
        self._is_over = threading.Event()
        self._last: tuple[float, float] | None = None  # when the last stall ended, and its length
        self.stalls = 0
        """Since the start."""
        self.lags = Histogram(METER_BITS)
        """How long the loop took to give a sign of life, each time that it was asked."""

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="loop watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()  # first: the thread looks at it once it has cleared the other
        self._answered.set()
        self._thread.join(ENDING_S)

    @property
    def reason(self) -> str:
        """A sentence for a minute after a stall; else ""."""
        if self._last is None:
            return ""
        ago_s = time.monotonic() - self._last[0]
        if ago_s > TELL_FOR_S:
            return ""
        return (
            f"its event loop stood still for {self._last[1]:.1f} s, {ago_s:.0f} s ago "
            f"({self.stalls} times since the start); its log has the stack"
        )

    def _answer(self, asked_at: float) -> None:
        self.lags.record(int((time.monotonic() - asked_at) * 1e9))
        self._answered.set()

    # On the thread.

    def _watch(self) -> None:
        while not self._is_over.wait(self._ask_every_s):
            asked_at = time.monotonic()
            self._answered.clear()
            if self._is_over.is_set():  # set after the wait had run out: no loop answers any more
                return
            try:
                self._loop.call_soon_threadsafe(self._answer, asked_at)
            except RuntimeError:  # the loop was closed
                return
            if not self._answered.wait(self._stall_s) and not self._was_stopped(asked_at):
                self._log_stack(time.monotonic() - asked_at)
                self._answered.wait()
                self._note(time.monotonic() - asked_at)

    def _was_stopped(self, asked_at: float) -> bool:
        """Whether this thread itself was held up: then the loop had no chance to answer."""
        return time.monotonic() - asked_at > self._stall_s + self._ask_every_s

    def _log_stack(self, stands_s: float) -> None:
        frame = sys._current_frames().get(self._watched)
        _log.error("the event loop stands still for %.1f s now, here:\n%s", stands_s, _stack(frame))

    def _note(self, stood_s: float) -> None:
        if self._is_over.is_set():
            return
        self.stalls += 1
        self._last = time.monotonic(), stood_s
        _log.warning("the event loop turns again after %.1f s", stood_s)
        self._loop.call_soon_threadsafe(self._stood_still, stood_s)


def _stack(frame: FrameType | None) -> str:
    if frame is None:
        return "(its thread has ended)"
    return "".join(traceback.format_stack(frame)[-_MOST_FRAMES:])
