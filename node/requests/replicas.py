"""The owners of a key as a coordinator talks to them, this node like any other (node/calls_to_self.py)."""

from __future__ import annotations

from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.ports import Priority, Transport
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.cluster.versions.objects import ABSENT, StoredObject
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.replica_messages import APPLY, READ, Apply, ApplyAnswer, Read, ReadAnswer
from ringmill.node.replica.routes import Route

__all__ = ["Replicas"]


class Replicas:
    def __init__(
        self, node: NodeId, *, transport: Transport, objects: ObjectStore, hybrid: HybridClock
    ) -> None:
        self.node = node
        self._transport = transport
        self._objects = objects
        self._hybrid = hybrid

    async def read(self, node: NodeId, route: Route, timeout_s: float) -> tuple[StoredObject, Epoch]:
        """What an owner holds, durable there, and the row epoch under which it answered.

        Raises what the owner raised, Unavailable, DeadlineExceeded.
        """
        body = Read(route.epoch, route.keyspace.id, route.key).encode()
        data = await self._transport.call(node, READ, body, timeout_s=timeout_s, priority=Priority.READ)
        answer = ReadAnswer.decode(data)
        stored = decode_object(answer.encoded) if answer.encoded else ABSENT
        self._objects.check_made(route.place, stored)
        return stored, answer.row_epoch

    async def apply(
        self, node: NodeId, route: Route, encoded: bytes, durability: Durability, timeout_s: float
    ) -> tuple[Durability, Epoch]:
        """Have an owner merge an object.  Returns durability and row epoch.  Raises what `read` raises."""
        body = Apply(route.epoch, route.keyspace.id, route.key, durability, encoded).encode()
        data = await self._transport.call(node, APPLY, body, timeout_s=timeout_s, priority=Priority.WRITE)
        answer = ApplyAnswer.decode(data)
        self._hybrid.observe(answer.time)
        return answer.durability, answer.row_epoch
