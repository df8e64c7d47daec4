"""Shows the place of a key and what each owner holds of it now, for people who inspect the cluster.

It repairs nothing.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.hashing import position
from ringmill.cluster.versions.objects import StoredObject, merge_all, newest_first
from ringmill.node.contracts import LivenessView, TopologyView
from ringmill.node.replica.routes import Route, Routes
from ringmill.node.requests.owner_calls import OwnerCalls
from ringmill.node.requests.request_limits import DEFAULT_TIMEOUT_S, check_key
from ringmill.node.requests.request_values import ANY_EPOCH, Located, LocateRequest, OwnerAnswer

__all__ = ["Locator"]

OWNER_TIMEOUT_S: Final = 1.0


class Locator:
    def __init__(
        self, *, routes: Routes, topology: TopologyView, owner_calls: OwnerCalls, liveness: LivenessView
    ) -> None:
        self._routes = routes
        self._topology = topology
        self._owners = owner_calls
        self._liveness = liveness

    async def locate(self, request: LocateRequest) -> Located:
        """Each owner's own copy; one that does not answer within a second says so.

        Raises InvalidArgument, and Unavailable before there is a topology.
        """
        check_key(request.key)
        route = await self._routes.by_name(request.keyspace, request.key, ANY_EPOCH, DEFAULT_TIMEOUT_S)
        held = await gather_all(self._held(node, route) for node in route.row.readers)
        merged = merge_all(each for each in held if isinstance(each, StoredObject))
        return Located(
            position(route.keyspace.id, route.key),
            route.partition,
            route.epoch,
            tuple(
                self._describe(node, each, merged) for node, each in zip(route.row.readers, held, strict=True)
            ),
            self._topology.serving_topology().fallbacks(route.partition),
        )

    async def _held(self, node: NodeId, route: Route) -> StoredObject | str:
        try:
            async with asyncio.timeout(OWNER_TIMEOUT_S):  # this node's own copy has no deadline otherwise
                stored, _ = await self._owners.read(node, route, OWNER_TIMEOUT_S)
        except (RingmillError, TimeoutError) as error:
            return str(error) or f"no answer within {OWNER_TIMEOUT_S:.0f} s"
        return stored

    def _describe(self, node: NodeId, held: StoredObject | str, merged: StoredObject) -> OwnerAnswer:
        state = self._liveness.state(node)
        if isinstance(held, str):
            return OwnerAnswer(node, state, error=held)
        siblings = newest_first(held.siblings)
        return OwnerAnswer(
            node,
            state,
            tuple(str(one.dot) for one in siblings),
            is_same=held == merged,
            tombstones=tuple(one.value is None for one in siblings),
            expires_at_ms=tuple(one.expires_at_ms for one in siblings),
        )
