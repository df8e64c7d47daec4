"""Handing a write to an owner: a node that is none forwards once, and only while nothing has been sent.

The request crosses as one msgpack array, the receipt comes back as another; the time left travels with the
call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgpack

from cluster.errors import ProtocolMismatch, Unavailable, WrongEpoch
from cluster.ids import Actor, Epoch, NodeId
from cluster.ports import Clock, Handler, Incoming, Priority, Transport
from cluster.quorum.receipt import Durability, Receipt, ReplicaAck, Role
from cluster.versions.dots import Dot
from cluster.versions.hybrid_time import HybridTime
from cluster.versions.objects import OperationId
from node.replica.routes import Route
from node.requests.deadline import Deadline
from node.requests.surroundings import Liveness
from node.requests.values import WriteRequest

__all__ = ["FORWARD", "Forwarder", "decode_receipt", "decode_request", "encode_receipt", "encode_request"]

FORWARD: Final = "kv.forward"

Write = Callable[[WriteRequest], Awaitable[Receipt]]


class Forwarder:
    def __init__(self, transport: Transport, liveness: Liveness, clock: Clock) -> None:
        self._transport = transport
        self._liveness = liveness
        self._clock = clock

    async def forward(self, request: WriteRequest, route: Route, deadline: Deadline) -> Receipt:
        """The receipt of the first owner that can be reached.

        Raises what that owner raised; Unavailable when none can be reached; WrongEpoch when the request was
        forwarded to us: the sender and we know different owners.
        """
        if request.is_forwarded:
            raise WrongEpoch(
                f"a write was forwarded to a node that does not own its key in epoch {route.epoch}",
                detail={"epoch": route.epoch, "partition": route.partition},
                hint="fetch the topology again",
            )
        refusal = Unavailable(f"none of the owners {', '.join(route.owners)} can be reached")
        for node in self._liveness.order(route.owners):
            try:
                answer = await self._transport.call(
                    node, FORWARD, encode_request(request), timeout_s=deadline.left_s, priority=Priority.WRITE
                )
            except Unavailable as error:
                if error.outcome != "failed":
                    raise
                refusal = error  # nothing was sent: another owner may do
            else:
                return decode_receipt(answer)
        raise refusal

    def handler(self, write: Write) -> Handler:
        """Answers forwarded writes by `write`, within the time the sender has left."""

        async def answer(incoming: Incoming) -> bytes:
            left_s = max(0.001, incoming.deadline - self._clock.monotonic())
            return encode_receipt(await write(decode_request(incoming.body, left_s)))

        return answer


def encode_request(request: WriteRequest) -> bytes:
    packed: bytes = msgpack.packb(
        [
            request.keyspace, request.key, request.value, request.context, request.is_blind, request.level,
            request.durability.value, request.operation, request.epoch, request.attempt, request.ttl_ms,
        ]
    )  # fmt: skip
    return packed


def decode_request(body: bytes, timeout_s: float) -> WriteRequest:
    """Raises ProtocolMismatch."""
    try:
        keyspace, key, value, context, is_blind, level, durability, operation, epoch, attempt, ttl_ms = (
            msgpack.unpackb(body)
        )
        session, sequence, birth = operation
        return WriteRequest(
            keyspace, key, value, context, is_blind, level, Durability(durability),
            OperationId(session, sequence, HybridTime(birth)), Epoch(epoch), attempt, ttl_ms,
            is_forwarded=True, timeout_s=timeout_s,
        )  # fmt: skip
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ProtocolMismatch(f"a forwarded write does not decode: {error}") from error


def encode_receipt(receipt: Receipt) -> bytes:
    packed: bytes = msgpack.packb(
        [
            list(receipt.dot), receipt.context, receipt.time, receipt.epoch, receipt.need,
            [[ack.node, ack.role.value, ack.durability.value] for ack in receipt.replicas], receipt.is_weak,
        ]
    )  # fmt: skip
    return packed


def decode_receipt(body: bytes) -> Receipt:
    """Raises ProtocolMismatch."""
    try:
        (actor, counter), context, time, epoch, need, replicas, is_weak = msgpack.unpackb(body)
        return Receipt(
            Dot(Actor(actor), counter), context, HybridTime(time), Epoch(epoch), need,
            tuple(ReplicaAck(NodeId(node), Role(role), Durability(held)) for node, role, held in replicas),
            is_weak,
        )  # fmt: skip
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ProtocolMismatch(f"the receipt of a forwarded write does not decode: {error}") from error
