"""Makes Python look for reference cycles less often while a task runs.

A task holds hundreds of thousands of small lists that are not garbage, and at its usual rate the collector
walks all of them again and again, which cost half of the time of a word count.  It is slowed down and not
turned off, so that cycles made by job code are still collected.

Tasks may run in several threads of one process, as on a worker of Dask.  The rate is that of the process, so
the first of them slows it down, and the last one puts it back.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["rare_collections"]

NEW_OBJECTS: Final = 200_000
YOUNG_PER_OLDER: Final = 20


class _Pace:
    """Of this process: how many blocks are open, and the thresholds from before the first."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._open = 0
        self._former = gc.get_threshold()

    def slow_down(self) -> None:
        with self._guard:
            if not self._open:
                self._former = gc.get_threshold()
                gc.set_threshold(NEW_OBJECTS, YOUNG_PER_OLDER, YOUNG_PER_OLDER)
            self._open += 1

    def leave(self) -> None:
        with self._guard:
            self._open -= 1
            if not self._open:
                gc.set_threshold(*self._former)


_PACE: Final = _Pace()


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect rarely while any such block is open, at the previous rate after the last."""
    _PACE.slow_down()
    try:
        yield
    finally:
        _PACE.leave()
