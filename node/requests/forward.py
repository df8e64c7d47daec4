"""Handing a write to an owner: a node that is none forwards once, and only while nothing has been sent.

The request crosses as one msgpack array, the receipt comes back as another; the time left travels with the
call.  Rules W1, W3, W4 and H9 (docs/protocol/).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import NoneType
from typing import Final

from ringmill.cluster.errors import (
    CorruptData,
    DeadlineExceeded,
    DiskFull,
    ProtocolMismatch,
    RingmillError,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.ids import Actor, Epoch, NodeId
from ringmill.cluster.ports import Clock, Handler, Incoming, Priority, Transport
from ringmill.cluster.quorum.receipt import Receipt, ReplicaAck, Role
from ringmill.cluster.versions.dots import Dot
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.contracts import LivenessView
from ringmill.node.replica.messages import durability_named
from ringmill.node.replica.packing import check_fields, pack, unpack
from ringmill.node.replica.routes import Route
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.values import WriteRequest

__all__ = ["FORWARD", "Forwarder", "decode_receipt", "decode_request", "encode_receipt", "encode_request"]

FORWARD: Final = "write.forward"  # of nodes only: a client may ask what begins with "kv."

Write = Callable[[WriteRequest], Awaitable[Receipt]]


class Forwarder:
    def __init__(self, *, transport: Transport, liveness: LivenessView, clock: Clock) -> None:
        self._transport = transport
        self._liveness = liveness
        self._clock = clock

    async def forward(
        self, request: WriteRequest, route: Route, deadline: Deadline, *, instead_of: NodeId | None = None
    ) -> Receipt:
        """The receipt of the first owner that can be reached and takes writes.

        `instead_of` is this node where it is an owner that cannot read its own copy.  Raises what that
        owner raised; Unavailable, DiskFull or CorruptData when none does; WrongEpoch when the request was
        forwarded to us: the sender and we know different owners.
        """
        if request.is_forwarded:
            raise WrongEpoch(
                f"a write was forwarded to a node that does not own its key in epoch {route.epoch}",
                detail={"epoch": route.epoch, "partition": route.partition},
                hint="fetch the topology again",
            )
        refusal: RingmillError = Unavailable(f"none of the owners {', '.join(route.owners)} can be reached")
        for node in self._liveness.order([owner for owner in route.owners if owner != instead_of]):
            try:
                answer = await self._transport.call(
                    node, FORWARD, encode_request(request), timeout_s=deadline.left_s, priority=Priority.WRITE
                )
            except (Unavailable, DiskFull, CorruptData) as error:
                if error.outcome != "failed":
                    raise
                refusal = error  # nothing was sent or nothing applied: another owner may do
            else:
                return _receipt(answer)
        raise refusal

    def handler(self, write: Write) -> Handler:
        """Answers forwarded writes by `write`, within the time the sender has left."""

        async def answer(incoming: Incoming) -> bytes:
            left_s = incoming.deadline - self._clock.monotonic()
            if left_s <= 0:
                raise DeadlineExceeded("a forwarded write waited past its deadline", outcome="failed")
            return encode_receipt(await write(decode_request(incoming.body, left_s)))

        return answer


def _receipt(answer: bytes) -> Receipt:
    """The write was done, whatever became of its receipt."""
    try:
        return decode_receipt(answer)
    except ProtocolMismatch as error:
        raise error.with_outcome("unknown") from error


def encode_request(request: WriteRequest) -> bytes:
    return pack(
        [
            request.keyspace, request.key, request.value, request.context, request.is_blind, request.level,
            request.durability.value, request.operation, request.epoch, request.attempt, request.ttl_ms,
        ]
    )  # fmt: skip


def decode_request(body: bytes, timeout_s: float) -> WriteRequest:
    """Raises ProtocolMismatch."""
    keyspace, key, value, context, is_blind, level, durability, operation, epoch, attempt, ttl_ms = unpack(
        body, (str, bytes, (bytes, NoneType), bytes, bool, str, str, list, int, int, int)
    )
    session, sequence, birth = check_fields(operation, (int, int, int))
    return WriteRequest(
        keyspace, key, value, context, is_blind, level, durability_named(durability),
        OperationId(session, sequence, HybridTime(birth)), Epoch(epoch), attempt, ttl_ms,
        is_forwarded=True, timeout_s=timeout_s,
    )  # fmt: skip


def encode_receipt(receipt: Receipt) -> bytes:
    return pack(
        [
            list(receipt.dot), receipt.context, receipt.time, receipt.epoch, receipt.need,
            [[ack.node, ack.role.value, ack.durability.value] for ack in receipt.replicas], receipt.is_weak,
        ]
    )  # fmt: skip


def decode_receipt(body: bytes) -> Receipt:
    """Raises ProtocolMismatch."""
    dot, context, time, epoch, need, replicas, is_weak = unpack(
        body, (list, bytes, int, int, int, list, bool)
    )
    actor, counter = check_fields(dot, (str, int))
    return Receipt(
        Dot(Actor(actor), counter), context, HybridTime(time), Epoch(epoch), need,
        tuple(_ack(each) for each in replicas), is_weak,
    )  # fmt: skip


def _ack(fields: object) -> ReplicaAck:
    node, role, durability = check_fields(fields, (str, str, str))
    if role not in {each.value for each in Role}:
        raise ProtocolMismatch(f"{role[:40]!r} is no role of a replica")
    return ReplicaAck(NodeId(node), Role(role), durability_named(durability))
