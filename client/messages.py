"""Requests out of checked arguments, values out of answers: the client's side of proto/kv.proto.

No connection, no retries; what callers hand in is checked in client/arguments.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringmill.client.arguments import (
    ContextLike,
    Durability,
    Level,
    Seconds,
    Value,
    checked_context,
    checked_durability,
    checked_level,
    checked_ttl_ms,
    checked_value,
)
from ringmill.client.operations import Operation
from ringmill.client.values import EMPTY, CausalContext, Item, Location, OwnerCopy, Receipt, ReplicaAck
from ringmill.cluster.wire.stubs import kv_pb2

__all__ = [
    "delete_request",
    "get_request",
    "item",
    "locate_request",
    "location",
    "put_request",
    "receipt",
]


def put_request(
    keyspace: str,
    key: bytes,
    value: Value,
    operation: Operation,
    *,
    context: ContextLike | None,
    w: Level | None,
    durability: Durability | None,
    ttl: Seconds | None,
) -> kv_pb2.PutRequest:
    """The message of one put.  Raises InvalidArgument."""
    seen = checked_context(context)
    return kv_pb2.PutRequest(
        keyspace=keyspace,
        key=key,
        value=checked_value(value),
        context=seen.token if seen else b"",
        no_context=seen == EMPTY,
        w=checked_level("w", w),
        durability=checked_durability(durability),
        operation=_operation(operation),
        ttl_ms=checked_ttl_ms(ttl),
    )


def delete_request(
    keyspace: str,
    key: bytes,
    operation: Operation,
    *,
    context: ContextLike | None,
    w: Level | None,
    durability: Durability | None,
) -> kv_pb2.DeleteRequest:
    """The message of one delete.  Raises InvalidArgument."""
    seen = checked_context(context)
    return kv_pb2.DeleteRequest(
        keyspace=keyspace,
        key=key,
        context=seen.token if seen else b"",
        no_context=seen == EMPTY,
        w=checked_level("w", w),
        durability=checked_durability(durability),
        operation=_operation(operation),
    )


def get_request(keyspace: str, key: bytes, r: Level | None) -> kv_pb2.GetRequest:
    return kv_pb2.GetRequest(keyspace=keyspace, key=key, r=checked_level("r", r))


def locate_request(keyspace: str, key: bytes) -> kv_pb2.LocateRequest:
    return kv_pb2.LocateRequest(keyspace=keyspace, key=key)


def receipt(message: kv_pb2.WriteReceipt) -> Receipt:
    return Receipt(
        dot=message.dot,
        context=CausalContext(message.context) if message.context else None,
        epoch=message.epoch,
        w=message.w,
        replicas=tuple(ReplicaAck(ack.node, ack.role, ack.durability) for ack in message.replicas),
        weak=message.weak,
        hybrid_time=message.hybrid_time,
    )


def item(message: kv_pb2.GetResponse) -> Item | None:
    """The item of an answer; None when the key holds nothing."""
    if not message.siblings:
        return None
    return Item(
        siblings=tuple(sibling.value for sibling in message.siblings),
        context=CausalContext(message.context),
        dots=tuple(sibling.dot for sibling in message.siblings),
        answered=tuple(message.answered),
        repaired=message.repaired,
        weak=message.weak,
        epoch=message.epoch,
        expiries=tuple(sibling.expires_at_ms / 1000 or None for sibling in message.siblings),
    )


def location(message: kv_pb2.LocateResponse) -> Location:
    return Location(
        position=message.position,
        partition=message.partition,
        epoch=message.epoch,
        owners=tuple(_owner_copies(message.owners)),
        fallbacks=tuple(message.fallbacks),
    )


def _owner_copies(owners: Sequence[kv_pb2.OwnerCopy]) -> list[OwnerCopy]:
    return [
        OwnerCopy(
            one.node,
            one.state,
            tuple(one.dots),
            one.same,
            one.answered,
            one.error,
            tuple(one.tombstone),
            tuple(one.expires_at_ms),
        )
        for one in owners
    ]


def _operation(operation: Operation) -> kv_pb2.OperationId:
    return kv_pb2.OperationId(session=operation.session, sequence=operation.sequence, birth=operation.birth)
