"""How many chunks of map outputs a worker asks for at once: in all, and of each node as many as come soon.

A slow link or disk brings everything late when too much is asked of it, and what came too late is asked for
again, behind all that still comes.  So a node is asked for little first, for more while its chunks come
soon, and for less, in smaller chunks, once one was late.

Rule J28: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.ids import NodeId
from ringmill.node.compute.shuffle_server import CHUNK_BYTES

__all__ = ["FetchWindow", "NodePace"]

_CHUNKS_AT_ONCE: Final = 64  # two attempts at their most, as one may wait for nodes that are down
_FIRST: Final = 2
_MOST: Final = 32
LEAST_BYTES: Final = CHUNK_BYTES // 16
_SOON_S: Final = 1.0
_SLOW_S: Final = 2.5


class FetchWindow(asyncio.Semaphore):
    """How many chunks all fetches of a worker may have under way."""

    def __init__(self, chunks: int = _CHUNKS_AT_ONCE) -> None:
        super().__init__(chunks)
        self._paces: dict[NodeId, NodePace] = {}

    def pace_of(self, node: NodeId) -> NodePace:
        """What all fetches of the worker have learnt of a node."""
        return self._paces.setdefault(node, NodePace())


class NodePace:
    """How much one node is asked for at once.  Who holds it asks for one chunk of `chunk_bytes` at most."""

    def __init__(self) -> None:
        self.chunk_bytes = CHUNK_BYTES
        self.most = _FIRST
        self.came = 0
        """Chunks that have come from this node so far."""
        self.silent = 0
        """How many times in a row it was waited for in vain; chunks of one wait count once."""
        self._silent_at = 0.0
        self._under_way = 0
        self._changed = asyncio.Event()

    async def __aenter__(self) -> None:
        while self._under_way >= self.most:
            self._changed.clear()
            await self._changed.wait()
        self._under_way += 1

    async def __aexit__(self, *_: object) -> None:
        self._under_way -= 1
        self._changed.set()

    def note_came(self, seconds: float) -> None:
        """A chunk has come, so long after it was asked for."""
        self.came += 1
        self.silent = 0
        if seconds <= _SOON_S:
            self.most = min(_MOST, self.most + 1)
            self.chunk_bytes = min(CHUNK_BYTES, self.chunk_bytes * 2)
        elif seconds > _SLOW_S:
            self.most = max(1, self.most - 1)

    def note_late(self, asked_at: float, now: float) -> None:
        """A chunk has not come in time; seconds of one clock."""
        if asked_at >= self._silent_at:
            self.silent, self._silent_at = self.silent + 1, now
        self.most = max(1, self.most // 2)
        self.chunk_bytes = max(LEAST_BYTES, self.chunk_bytes // 2)
