"""The owners of a key as a coordinator talks to them, this node like any other (node/calls_to_self.py)."""

from __future__ import annotations

from collections.abc import Mapping

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

__all__ = ["OwnerCalls"]


class OwnerCalls:
    def __init__(
        self, node: NodeId, *, transport: BatchTransport, objects: ObjectStore, hybrid: HybridClock
    ) -> None:
        self.node = node
        self._transport = transport
        self._objects = objects
        self._hybrid = hybrid
        self._last_ack: tuple[bytes, ApplyAnswer] | None = None

    def busy(self) -> Mapping[str, int]:
        """The other nodes that say that they have much under way (ringmill.cluster.ports.BatchTransport)."""
        return self._transport.busy()

    async def read(self, node: NodeId, route: Route, timeout_s: float) -> tuple[StoredObject, Epoch]:
        """What an owner holds, durable there, and the row epoch under which it answered.

        Raises what the owner raised, Unavailable, DeadlineExceeded.
        """
        data = await self._transport.call(
            node, READ, self.read_message(route), timeout_s=timeout_s, priority=Priority.READ
        )
        answer = ReadAnswer.decode(data)
        return self.decoded(route, answer.encoded), answer.row_epoch

    def read_message(self, route: Route) -> bytes:
        """The message of one read to its owners."""
        return Read(route.epoch, route.keyspace.id, route.key).encode()

    def decoded(self, route: Route, encoded: bytes) -> StoredObject:
        """The object in an owner's answer.  Raises CorruptData, ProtocolMismatch."""
        stored = decode_object(encoded) if encoded else ABSENT
        self._objects.check_made(route.place, stored)
        return stored

    async def apply(
        self, node: NodeId, route: Route, encoded: bytes, durability: Durability, timeout_s: float
    ) -> tuple[Durability, Epoch]:
        """Have an owner merge an object.  Returns durability and row epoch.

        Raises what the owner raised, Unavailable, DeadlineExceeded.
        """
        body = self.apply_message(route, encoded, durability)
        data = await self._transport.call(node, APPLY, body, timeout_s=timeout_s, priority=Priority.WRITE)
        return self.applied(data)

    def send_apply(self, node: NodeId, message: bytes, timeout_s: float, on_answer: Ended) -> None:
        """Ask another owner to merge an object, without a task.

        `message` is that of `apply_message`; `on_answer` gets the bytes for `applied`, or the error.
        """
        self._transport.send(
            node, APPLY, message, timeout_s=timeout_s, priority=Priority.WRITE, ended=on_answer
        )

    def send_apply_many(self, node: NodeId, objects: ApplyMany, timeout_s: float, on_answer: Ended) -> None:
        """Ask another owner to merge several objects, without a task.

        `on_answer` gets the bytes for `applied_many`, or the error.
        """
        body = objects.encode()
        self._transport.send(
            node, APPLY_MANY, body, timeout_s=timeout_s, priority=Priority.WRITE, ended=on_answer
        )

    def send_read(self, node: NodeId, message: bytes, timeout_s: float, on_answer: Ended) -> None:
        """Ask another owner for its object, without a task.

        `message` is that of `read_message`; `on_answer` gets the bytes of a ReadAnswer, or the error.
        """
        self._transport.send(
            node, READ, message, timeout_s=timeout_s, priority=Priority.READ, ended=on_answer
        )

    def send_digest(self, node: NodeId, message: bytes, timeout_s: float, on_answer: Ended) -> None:
        """Ask another owner for its object, or for the digest of one that is large, without a task.

        `message` is that of `read_message`; `on_answer` gets the bytes of a ReadAnswer or DigestAnswer, or
        the error.
        """
        self._transport.send(
            node, DIGEST, message, timeout_s=timeout_s, priority=Priority.READ, ended=on_answer
        )

    def send_read_many(self, node: NodeId, keys: ReadMany, timeout_s: float, on_answer: Ended) -> None:
        """Ask another owner for the objects of several keys, without a task.

        `on_answer` gets the bytes of a ReadManyAnswer, or the error.
        """
        body = keys.encode()
        self._transport.send(
            node, READ_MANY, body, timeout_s=timeout_s, priority=Priority.READ, ended=on_answer
        )

    def applied_many(self, answer: bytes, keys: int) -> tuple[Durability, list[Epoch]]:
        """Durability and row epochs in an owner's answer to `send_apply_many` of this number of keys.

        A row epoch of 0 says that the owner did not take this object.  Raises ProtocolMismatch.
        """
        decoded = ApplyManyAnswer.decode(answer, keys)
        self._hybrid.observe(decoded.time)
        return decoded.durability, decoded.row_epochs

    def apply_message(self, route: Route, encoded: bytes, durability: Durability) -> bytes:
        """The message of one write to its owners."""
        return Apply(route.epoch, route.keyspace.id, route.key, durability, encoded).encode()

    def applied(self, answer: bytes) -> tuple[Durability, Epoch]:
        """Durability and row epoch in an owner's answer to `send_apply`.  Raises ProtocolMismatch."""
        known = self._last_ack
        if known is None or known[0] != answer:  # acks of one frame are the same bytes
            known = self._last_ack = answer, ApplyAnswer.decode(answer)
            self._hybrid.observe(known[1].time)
        return known[1].durability, known[1].row_epoch
