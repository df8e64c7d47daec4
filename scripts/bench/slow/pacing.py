"""Stops processes and lets them go on, in turns, beside what is measured: nothing fails, and all is late."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator

import psutil

__all__ = ["stopped_in_turns"]


@contextlib.contextmanager
def stopped_in_turns(
    processes: Callable[[], Iterable[psutil.Process]], stopped_s: float, runs_s: float
) -> Iterator[None]:
    """Those that there are at the beginning of a turn are stopped, and go on; all of them run in the end."""
    over = threading.Event()

    def pace() -> None:
        while not over.is_set():
            present = list(processes())
            _tell(present, signal.SIGSTOP)
            over.wait(stopped_s)
            _tell(present, signal.SIGCONT)
            over.wait(runs_s)

    thread = threading.Thread(target=pace)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _tell(processes: Iterable[psutil.Process], what: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(what)
