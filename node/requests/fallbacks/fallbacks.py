"""Finds a member that stands in for an owner of a write that cannot be reached, in a sloppy quorum (rule W7).

Members that do not own the key are asked one after the other, in the order of the ring, those that are seen
up and are to stay (rule M6).  Each stands in for one owner of a write at most.  Who says that the write is on
its disk, as a hint for the owner, has the owner's seat in the tally.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.ports import Priority, Transport
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.node.contracts import LivenessView
from ringmill.node.node_options import RequestOptions
from ringmill.node.replica.fallbacks.fallback_messages import KEEP_HINT, READ_HINT, KeepHint, KeepHintAnswer
from ringmill.node.replica.replica_messages import Read, ReadAnswer
from ringmill.node.replica.routes import Route, Routes
from ringmill.node.requests.deadline import Deadline

__all__ = ["Fallbacks", "Search"]

_NO_TIME_S: Final = 0.001


class Search:
    """For who stands in for the owners of one write."""

    __slots__ = ("asked", "found")

    def __init__(self) -> None:
        self.asked: list[NodeId] = []  # each once, for one owner
        self.found: dict[NodeId, asyncio.Future[NodeId | None]] = {}  # by owner, once looked for


class Fallbacks:
    def __init__(
        self,
        *,
        routes: Routes,
        liveness: LivenessView,
        transport: Transport,
        hybrid: HybridClock,
        options: RequestOptions,
    ) -> None:
        self._routes = routes
        self._liveness = liveness
        self._transport = transport
        self._hybrid = hybrid
        self._options = options

    def of(self, route: Route) -> list[NodeId]:
        """Who may stand in for owners of a key and is seen up."""
        return [node for node in self._routes.fallbacks(route) if self._liveness.is_up(node)]

    async def find(
        self, search: Search, route: Route, owner: NodeId, encoded: bytes, deadline: Deadline
    ) -> NodeId | None:
        """The member that now holds the write for an owner; None when nobody could take it.

        Looked for once: a second call for the owner waits for the first.
        """
        known = search.found.get(owner)
        if known is not None:
            return await asyncio.shield(known)
        known = search.found[owner] = asyncio.get_running_loop().create_future()
        found: NodeId | None = None
        try:
            found = await self._search(search, route, owner, encoded, deadline)
        finally:
            known.set_result(found)
        return found

    async def read(self, node: NodeId, route: Route, timeout_s: float) -> tuple[bytes, Epoch]:
        """The object that a member holds for owners of a key, b"" for none, and its row epoch.

        Raises what the member raised, Unavailable, DeadlineExceeded.
        """
        body = Read(route.epoch, route.keyspace.id, route.key).encode()
        answer = await self._transport.call(
            node, READ_HINT, body, timeout_s=timeout_s, priority=Priority.READ
        )
        decoded = ReadAnswer.decode(answer)
        return decoded.encoded, decoded.row_epoch

    async def _search(
        self, search: Search, route: Route, owner: NodeId, encoded: bytes, deadline: Deadline
    ) -> NodeId | None:
        body = KeepHint(route.epoch, route.keyspace.id, route.key, owner, encoded).encode()
        for node in self.of(route):
            if node in search.asked or not self._routes.stays(node):
                continue
            left_s = min(deadline.left_s, self._options.fallback_patience_s)
            if left_s < _NO_TIME_S:
                break
            search.asked.append(node)
            try:
                if await self._keep(node, body, left_s) == route.row.row_epoch:
                    sometimes("a fallback stands in for an owner")
                    return node
            except RingmillError:
                sometimes("a fallback does not take a hint")
        return None

    async def _keep(self, node: NodeId, body: bytes, timeout_s: float) -> Epoch:
        answer = await self._transport.call(
            node, KEEP_HINT, body, timeout_s=timeout_s, priority=Priority.WRITE
        )
        decoded = KeepHintAnswer.decode(answer)
        self._hybrid.observe(decoded.time)
        return decoded.row_epoch
