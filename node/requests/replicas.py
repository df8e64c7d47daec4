"""The owners of a key as a coordinator talks to them, this node like any other (node/calls_to_self.py)."""

from __future__ import annotations

from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.ports import BatchTransport, Ended, Priority
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.cluster.versions.objects import ABSENT, StoredObject
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.replica_messages import (
    APPLY,
    APPLY_MANY,
    DIGEST,
    READ,
    READ_MANY,
    Apply,
    ApplyAnswer,
    ApplyMany,
    ApplyManyAnswer,
    Read,
    ReadAnswer,
    ReadMany,
)
from ringmill.node.replica.routes import Route

__all__ = ["Replicas"]


class Replicas:
    def __init__(
        self, node: NodeId, *, transport: BatchTransport, objects: ObjectStore, hybrid: HybridClock
    ) -> None:
        self.node = node
        self._transport = transport
        self._objects = objects
        self._hybrid = hybrid
        self._last_ack: tuple[bytes, ApplyAnswer] | None = None

    async def read(self, node: NodeId, route: Route, timeout_s: float) -> tuple[StoredObject, Epoch]:
        """What an owner holds, durable there, and the row epoch under which it answered.

        Raises what the owner raised, Unavailable, DeadlineExceeded.
        """
        data = await self._transport.call(
            node, READ, self.read_message(route), timeout_s=timeout_s, priority=Priority.READ
        )
        told = ReadAnswer.decode(data)
        return self.decoded(route, told.encoded), told.row_epoch

    def read_message(self, route: Route) -> bytes:
        """What every owner is asked by one read."""
        return Read(route.epoch, route.keyspace.id, route.key).encode()

    def decoded(self, route: Route, encoded: bytes) -> StoredObject:
        """The object that an owner told of.  Raises CorruptData, ProtocolMismatch."""
        stored = decode_object(encoded) if encoded else ABSENT
        self._objects.check_made(route.place, stored)
        return stored

    async def apply(
        self, node: NodeId, route: Route, encoded: bytes, durability: Durability, timeout_s: float
    ) -> tuple[Durability, Epoch]:
        """Have an owner merge an object.  Returns durability and row epoch.  Raises what `read` raises."""
        body = self.apply_message(route, encoded, durability)
        data = await self._transport.call(node, APPLY, body, timeout_s=timeout_s, priority=Priority.WRITE)
        return self.applied(data)

    def send_apply(self, node: NodeId, message: bytes, timeout_s: float, ended: Ended) -> None:
        """The same for another node, without a task: `ended` gets the answer for `applied`, or the error."""
        self._transport.send(node, APPLY, message, timeout_s=timeout_s, priority=Priority.WRITE, ended=ended)

    def send_read(self, node: NodeId, message: bytes, timeout_s: float, ended: Ended) -> None:
        """As `read` likewise."""
        self._transport.send(node, READ, message, timeout_s=timeout_s, priority=Priority.READ, ended=ended)

    def send_digest(self, node: NodeId, message: bytes, timeout_s: float, ended: Ended) -> None:
        """As `send_read`; a large object is told by its digest."""
        self._transport.send(node, DIGEST, message, timeout_s=timeout_s, priority=Priority.READ, ended=ended)

    def send_read_many(self, node: NodeId, asked: ReadMany, timeout_s: float, ended: Ended) -> None:
        """As `send_digest` for many keys."""
        body = asked.encode()
        self._transport.send(node, READ_MANY, body, timeout_s=timeout_s, priority=Priority.READ, ended=ended)

    def send_apply_many(self, node: NodeId, told: ApplyMany, timeout_s: float, ended: Ended) -> None:
        """As `send_apply` for many objects; the answer is for `applied_many`."""
        body = told.encode()
        self._transport.send(
            node, APPLY_MANY, body, timeout_s=timeout_s, priority=Priority.WRITE, ended=ended
        )

    def applied_many(self, answer: bytes, keys: int) -> tuple[Durability, list[Epoch]]:
        """What an owner's answer about this number of keys says.  Raises ProtocolMismatch."""
        told = ApplyManyAnswer.decode(answer, keys)
        self._hybrid.observe(told.time)
        return told.durability, told.row_epochs

    def apply_message(self, route: Route, encoded: bytes, durability: Durability) -> bytes:
        """What every owner is sent of one write."""
        return Apply(route.epoch, route.keyspace.id, route.key, durability, encoded).encode()

    def applied(self, answer: bytes) -> tuple[Durability, Epoch]:
        """What an owner's answer says.  Raises ProtocolMismatch."""
        known = self._last_ack
        if known is None or known[0] != answer:  # those of one frame are the same bytes
            known = self._last_ack = answer, ApplyAnswer.decode(answer)
            self._hybrid.observe(known[1].time)
        return known[1].durability, known[1].row_epoch
