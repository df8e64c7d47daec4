"""A fallback's side of a request: keeps hints that count for an owner, and tells what it holds of a key.

It is no owner of the key and makes none of its versions.  A hint counts from the moment it is on the disk
(rules W7 and H11); delivering it is node/repair's.  What it tells to a read is on the disk too (rule G5).
"""

from __future__ import annotations

from collections.abc import Mapping

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ports import Handler, Incoming
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.node.replica.fallbacks.fallback_messages import KEEP_HINT, READ_HINT, KeepHint, KeepHintAnswer
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.object_batch import peers_object
from ringmill.node.replica.replica_messages import Read, ReadAnswer
from ringmill.node.replica.routes import Routes

__all__ = ["FallbackServing"]


class FallbackServing:
    def __init__(self, *, routes: Routes, hints: HintStore, hybrid: HybridClock) -> None:
        self._routes = routes
        self._hints = hints
        self._clock = hybrid

    def handlers(self) -> Mapping[str, Handler]:
        return {KEEP_HINT: self.keep, READ_HINT: self.read}

    async def keep(self, incoming: Incoming) -> bytes:
        """Answered once the hint is on the disk.

        Raises WrongEpoch and Unavailable when this node may not stand in for that owner, Overloaded when its
        hints for it are full, and what keeping a hint raises: then it counts for nothing.
        """
        request = KeepHint.decode(incoming.body)
        route = await self._routes.of_fallback(
            request.keyspace, request.key, request.epoch, sender=incoming.sender, owner=request.owner
        )
        stored = peers_object(request.encoded)
        self._clock.observe(stored.newest)
        self._check_stays()
        commit = await self._hints.keep_counted(route.hint_key, request.owner, stored)
        await commit.synced()
        self._check_stays()
        self._routes.check_same(route)  # those who own it now may have asked others
        return KeepHintAnswer(route.row.row_epoch, self._clock.now()).encode()

    def _check_stays(self) -> None:
        """Who leaves has to deliver what it keeps, and may find that it has nothing left; a member that joins
        is none any more when its plan is given up (rule M6)."""
        if not self._routes.stays(self._routes.node):
            raise Unavailable(f"{self._routes.node} is on its way in or out, so it stands in for nobody")

    async def read(self, incoming: Incoming) -> bytes:
        """What this node holds for owners of the key; empty when it holds nothing."""
        request = Read.decode(incoming.body)
        route = await self._routes.of_fallback(
            request.keyspace, request.key, request.epoch, sender=incoming.sender
        )
        hint = await self._hints.get_synced(route.hint_key)
        self._routes.check_same(route)  # it may have been delivered to those who own the key now
        return ReadAnswer(route.row.row_epoch, b"" if hint is None else hint.encoded).encode()
