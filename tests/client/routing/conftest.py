"""A loop for tests that have no network: when nothing is left to do, the next timer is due at once.

So a deadline of half a minute costs nothing, and no stall of the machine is taken for one of a node.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping

__all__ = ["ImpatientLoop"]


class _NoWait(selectors.DefaultSelector):
    """Adds up how long it would have waited."""

    waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("no timer is set and nothing is ready: the test would wait forever")
        self.waited_s += max(0.0, timeout)
        return super().select(0)


class ImpatientLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._no_wait = _NoWait()
        super().__init__(self._no_wait)

    def time(self) -> float:
        return self._no_wait.waited_s

    def stand_still(self, for_s: float) -> None:
        """The whole process is busy or was stopped."""
        self._no_wait.waited_s += for_s


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"impatient": ImpatientLoop}
