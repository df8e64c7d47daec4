"""Makes all owners of one key equal: reads it from all of them, and writes back what some of them lack.

Catch-up calls it where owners differ (rule H8); a client's read repairs only as much as its level needs
(node/requests/read.py).
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId
from ringmill.cluster.ports import Clock
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.node.replica.routes import Route, Routes
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.owners.collect import Collector
from ringmill.node.requests.replicas import Replicas

__all__ = ["Equalizer"]

ALLOWED_S: Final = 5.0


class Equalizer:
    def __init__(self, *, routes: Routes, collector: Collector, replicas: Replicas, clock: Clock) -> None:
        self._routes = routes
        self._collector = collector
        self._replicas = replicas
        self._clock = clock

    async def equalize(self, keyspace: KeyspaceId, key: bytes) -> None:
        """Returns once every owner holds the merge of all, synced.

        Raises QuorumNotReached, Unavailable and what an owner raised when one of them cannot be reached or
        cannot take it.
        """
        deadline = Deadline.after(ALLOWED_S, self._clock)
        route = await self._routes.by_id(keyspace, key, Epoch(0), sender=self._routes.node)
        collected = await self._collector.collect(route, len(route.owners), deadline)
        merged = collected.merged
        encoded = encode_object(merged)
        stale = [node for node, stored in collected.answers.items() if stored != merged]
        await gather_all(self._bring(node, route, encoded, deadline) for node in stale)

    async def _bring(self, node: NodeId, route: Route, encoded: bytes, deadline: Deadline) -> None:
        _, row_epoch = await self._replicas.apply(node, route, encoded, Durability.SYNCED, deadline.left_s)
        if row_epoch != route.row.row_epoch:
            raise Unavailable(f"{node} answered under row epoch {row_epoch}, not {route.row.row_epoch}")
