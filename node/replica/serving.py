"""The replica's side of a request: answers peers that apply, read or deliver objects of keys owned here.

Each message is checked against the row of its key before anything is touched, and answered only once the
object has the requested durability (rule W2).  A read is answered only when its result is durable here (rule
G2).
"""

from __future__ import annotations

from ringmill.cluster.errors import CorruptData, ProtocolMismatch, RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming, Transport
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.cluster.versions.objects import StoredObject
from ringmill.node.replica.object_store import ObjectStore, hold
from ringmill.node.replica.replica_messages import (
    APPLY,
    DELIVER,
    READ,
    Apply,
    ApplyAnswer,
    Deliver,
    DeliverAnswer,
    HintItem,
    Read,
    ReadAnswer,
)
from ringmill.node.replica.routes import Routes
from ringmill.node.storage.engine import Commit

__all__ = ["ReplicaServing"]


class ReplicaServing:
    def __init__(self, *, routes: Routes, objects: ObjectStore, hybrid: HybridClock) -> None:
        self._routes = routes
        self._objects = objects
        self._clock = hybrid

    def serve(self, transport: Transport) -> None:
        """Answer peers from now on."""
        transport.serve(APPLY, self.apply)
        transport.serve(READ, self.read)
        transport.serve(DELIVER, self.deliver)

    async def apply(self, incoming: Incoming) -> bytes:
        request = Apply.decode(incoming.body)
        route = await self._routes.by_id(request.keyspace, request.key, request.epoch, sender=incoming.sender)
        applied = await self._objects.apply(route.place, _object(request.encoded))
        await hold(applied.commit, request.durability)
        return ApplyAnswer(route.row.row_epoch, request.durability, self._clock.now()).encode()

    async def read(self, incoming: Incoming) -> bytes:
        request = Read.decode(incoming.body)
        route = await self._routes.by_id(request.keyspace, request.key, request.epoch, sender=incoming.sender)
        encoded = await self._objects.read_synced(route.place)
        return ReadAnswer(route.row.row_epoch, encoded).encode()

    async def deliver(self, incoming: Incoming) -> bytes:
        """Accept hints, synced (rule H1); a refused one does not delay the others (rule H5)."""
        request = Deliver.decode(incoming.body)
        taken = [await self._take(item, request, incoming.sender) for item in request.items]
        for outcome in taken:
            if not isinstance(outcome, str):
                await hold(outcome, Durability.SYNCED)
        return DeliverAnswer(tuple(each if isinstance(each, str) else "" for each in taken)).encode()

    async def _take(self, item: HintItem, request: Deliver, sender: NodeId) -> Commit | str | None:
        """The commit to await; None when the object is already on the disk; or why it is refused."""
        try:
            route = await self._routes.by_id(item.keyspace, item.key, request.epoch, sender=sender)
            applied = await self._objects.apply(route.place, _object(item.encoded))
        except RingmillError as error:
            sometimes("an owner refuses a hint")
            return f"{error.code}: {error.message}"
        return applied.commit


def _object(encoded: bytes) -> StoredObject:
    """Decode a peer's object.

    Raises ProtocolMismatch, not CorruptData, because no disk of ours is damaged.
    """
    try:
        return decode_object(encoded)
    except CorruptData as error:
        raise ProtocolMismatch(f"a peer sent a malformed object: {error}") from error
