"""Runs synchronous code that stops at given points, so that the work of a task process takes virtual time.

The work has its own thread but never runs at the same time as the loop: the two alternate, so that the run
stays one sequence of steps.  Dropped work is unwound by an exception that no kernel catches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Dropped", "Stepped"]

T = TypeVar("T")


class Dropped(BaseException):
    """The process is gone: nothing of the work goes on."""


class Stepped(Generic[T]):
    """`work` is given a function that stops it; `resume` runs it up to its next stop."""

    def __init__(self, work: Callable[[Callable[[], None]], T]) -> None:
        self._work = work
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self.is_dropped = False
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self.is_over = False

    def resume(self) -> bool:
        """Run on; True when the work has ended."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        self._go.release()
        self._stopped.acquire()
        return self.is_over

    def result(self) -> T:
        """What the work made.  Raises what it raised."""
        assert self.is_over, "the work goes on"
        if self._error is not None:
            raise self._error
        return self._result[0]

    def drop(self) -> None:
        """Unwind the work where it stands."""
        if self._thread is not None and not self.is_over:
            self.is_dropped = True
            self.resume()

    def _stop(self) -> None:
        if not self.is_dropped:
            self._stopped.release()
            self._go.acquire()
        if self.is_dropped:
            raise Dropped

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._result.append(self._work(self._stop))
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
            self._error = error
        finally:
            self.is_over = True
            self._stopped.release()
