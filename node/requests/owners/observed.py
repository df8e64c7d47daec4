"""Brings what other owners know of a key to this node's copy, before a write that depends on it.

It asks on for what the session of the write has seen (rule S2: docs/protocol/sessions.md).
"""

from __future__ import annotations

from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.cluster.versions.objects import StoredObject, merge_all
from ringmill.cluster.versions.seen import Needed
from ringmill.node.replica.routes import Route
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.owner_calls import OwnerCalls
from ringmill.node.requests.owners.read_dispatcher import ReadDispatcher

__all__ = ["Observer"]


class Observer:
    def __init__(self, *, dispatcher: ReadDispatcher, owner_calls: OwnerCalls) -> None:
        self._dispatcher = dispatcher
        self._owners = owner_calls

    async def ask(
        self, route: Route, r: int, deadline: Deadline, needed: Needed | None = None
    ) -> StoredObject:
        """What `r` owners hold, merged; more of them, where `needed` is not covered else.  In a sloppy
        keyspace these may be fallbacks (rule G5), which stand for none of the `r`.

        Raises QuorumNotReached: nothing was changed.
        """
        if needed is None or not route.keyspace.is_sloppy:
            return (await self._dispatcher.ask_owners(route, r, deadline, needed)).merged
        owners = (await self._dispatcher.ask_owners(route, r, deadline)).merged
        if needed.missing(owners.context) is None:
            return owners
        found = await self._dispatcher.ask_owners(route, r, deadline, needed, is_strict=False)
        return merge_all([owners, found.merged])

    async def bring(self, found: StoredObject, route: Route, deadline: Deadline) -> None:
        """Merge it into this node's copy.  Raises what the engine raises."""
        body = encode_object(found)
        await self._owners.apply(self._owners.node, route, body, Durability.MEMORY, deadline.left_s)
