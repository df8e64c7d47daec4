"""How long an answer from another node may take that brings much, or a request that does.

A link may be so slow that what one message carries needs longer than is given to a call.  Trying again with
the same time would send it in vain each time, and keep the link full.  So after a call that was too late the
next one to that node gets twice as long, and what is large begins with more.  That is forgotten by time and
not by calls that were in time: small ones cross a slow link between any two that are large.

Rule H10: docs/protocol/repair.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from ringmill.cluster.errors import DeadlineExceeded
from ringmill.cluster.ids import NodeId

__all__ = ["LONGEST_S", "Crossings"]

LONGEST_S: Final = 60.0
SLOWEST_BYTES_PER_S: Final = 64 << 10
SMALL_BYTES: Final = 64 << 10  # takes no longer than any call
HALVES_AFTER_S: Final = 300.0  # without a call that was too late


def _loop_s() -> float:
    return asyncio.get_running_loop().time()


class Crossings:
    """How long calls of one kind may take, by the node that answers them; `longest_s` at most."""

    def __init__(
        self, usual_s: float, now_s: Callable[[], float] = _loop_s, *, longest_s: float = LONGEST_S
    ) -> None:
        self._usual_s = usual_s
        self._longest_s = longest_s
        self._now_s = now_s
        self._late: dict[NodeId, tuple[float, float]] = {}  # what was needed at last, and when that was

    @contextmanager
    def within(self, node: NodeId, size_bytes: int = 0) -> Iterator[float]:
        """Gives the timeout of a call with a body of this size.  The block is the call."""
        more_s = max(0, size_bytes - SMALL_BYTES) / SLOWEST_BYTES_PER_S
        given_s = min(self._longest_s, max(self._usual_s + more_s, self._needed_s(node)))
        try:
            yield given_s
        except DeadlineExceeded:
            self._late[node] = (min(self._longest_s, max(2 * given_s, self._needed_s(node))), self._now_s())
            raise

    def was_late(self, node: NodeId) -> bool:
        """Whether the node needed longer than usual lately, or does not answer at all."""
        return self._needed_s(node) > self._usual_s

    def _needed_s(self, node: NodeId) -> float:
        needed_s, at_s = self._late.get(node, (0.0, 0.0))
        if not needed_s:
            return 0.0
        needed_s /= 2.0 ** int((self._now_s() - at_s) / HALVES_AFTER_S)
        if needed_s > self._usual_s:
            return needed_s
        del self._late[node]
        return 0.0
