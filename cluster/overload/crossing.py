"""How long an answer from another node may take that brings much, or a request that does.

A link may be so slow that what one message carries needs longer than is given to a call.  Trying again with
the same time would send it in vain each time, and keep the link full.  So after a call that was too late the
next one to that node gets twice as long, and what is large begins with more.

Pure.  Rule H10: docs/protocol/repair.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ringmill.cluster.errors import DeadlineExceeded
from ringmill.cluster.ids import NodeId

__all__ = ["LONGEST_S", "Crossings"]

LONGEST_S: Final = 60.0
SLOWEST_BYTES_PER_S: Final = 64 << 10
SMALL_BYTES: Final = 64 << 10  # takes no longer than any call
SHRINKS: Final = 0.9  # with each call that was in time


class Crossings:
    """Of one kind of calls, by the node that answers them."""

    def __init__(self, usual_s: float) -> None:
        self._usual_s = usual_s
        self._needed_s: dict[NodeId, float] = {}  # of nodes that were too late lately

    @contextmanager
    def within(self, node: NodeId, size_bytes: int = 0) -> Iterator[float]:
        """Gives the timeout of a call with a body of this size.  The block is the call."""
        more_s = max(0, size_bytes - SMALL_BYTES) / SLOWEST_BYTES_PER_S
        given_s = min(LONGEST_S, max(self._usual_s + more_s, self._needed_s.get(node, 0.0)))
        try:
            yield given_s
        except DeadlineExceeded:
            self._needed_s[node] = min(LONGEST_S, max(2 * given_s, self._needed_s.get(node, 0.0)))
            raise
        needed_s = self._needed_s.get(node, 0.0) * SHRINKS
        if needed_s > self._usual_s:
            self._needed_s[node] = needed_s
        else:
            self._needed_s.pop(node, None)
