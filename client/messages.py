"""Requests out of arguments, values out of answers: the client's side of proto/kv.proto.

Bad arguments are found here, before anything is sent.  No connection, no retries.
Limits: docs/guarantees.md, "Limits"; the node checks them again.
"""

from __future__ import annotations

from collections.abc import Sequence

from client.operations import Operation
from client.values import EMPTY, CausalContext, Item, Location, OwnerCopy, Receipt, ReplicaAck
from cluster.errors import InvalidArgument
from cluster.wire import kv_pb2

__all__ = [
    "Key",
    "Level",
    "delete_request",
    "get_request",
    "item",
    "key_bytes",
    "location",
    "locate_request",
    "put_request",
    "receipt",
]

Key = str | bytes
Level = int | str

KEY_LIMIT = 1024
VALUE_LIMIT = 16 * 1024 * 1024
DURABILITIES = ("", "memory", "buffered", "sync")
LEVEL_NAMES = ("", "one", "quorum", "all")


def key_bytes(key: Key) -> bytes:
    """The key as the cluster knows it: UTF-8 of a str.  Raises InvalidArgument outside 1 to 1,024 bytes."""
    data = key.encode("utf-8", "surrogateescape") if isinstance(key, str) else bytes(key)
    if not data:
        raise InvalidArgument("the key is empty", hint=f"a key has 1 to {KEY_LIMIT} bytes")
    if len(data) > KEY_LIMIT:
        raise InvalidArgument(
            f"the key has {len(data)} bytes, the limit is {KEY_LIMIT}",
            detail={"limit": KEY_LIMIT, "size": len(data)},
            hint="put the long part into the value",
        )
    return data


def put_request(
    keyspace: str,
    key: bytes,
    value: bytes,
    operation: Operation,
    *,
    context: CausalContext | None,
    w: Level | None,
    durability: str,
    ttl: float | None,
) -> kv_pb2.PutRequest:
    """The message of one put.  `ttl` is in seconds; None keeps the value for ever."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise InvalidArgument(f"a value is bytes, not {type(value).__name__}", hint="encode it first")
    if len(value) > VALUE_LIMIT:
        raise InvalidArgument(
            f"the value has {len(value)} bytes, no cluster takes more than {VALUE_LIMIT}",
            detail={"limit": VALUE_LIMIT, "size": len(value)},
            hint="split it over several keys",
        )
    if ttl is not None and ttl <= 0:
        raise InvalidArgument(f"ttl is {ttl} s, it must be above 0", hint="delete the key instead")
    return kv_pb2.PutRequest(
        keyspace=keyspace,
        key=key,
        value=bytes(value),
        context=context.token if context else b"",
        no_context=context == EMPTY,
        w=_level(w),
        durability=_durability(durability),
        operation=_operation(operation),
        ttl_ms=0 if ttl is None else max(1, round(ttl * 1000)),
    )


def delete_request(
    keyspace: str,
    key: bytes,
    operation: Operation,
    *,
    context: CausalContext | None,
    w: Level | None,
    durability: str,
) -> kv_pb2.DeleteRequest:
    return kv_pb2.DeleteRequest(
        keyspace=keyspace,
        key=key,
        context=context.token if context else b"",
        no_context=context == EMPTY,
        w=_level(w),
        durability=_durability(durability),
        operation=_operation(operation),
    )


def get_request(keyspace: str, key: bytes, r: Level | None) -> kv_pb2.GetRequest:
    return kv_pb2.GetRequest(keyspace=keyspace, key=key, r=_level(r))


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
        value=message.siblings[0].value,
        siblings=tuple(sibling.value for sibling in message.siblings),
        context=CausalContext(message.context),
        dots=tuple(sibling.dot for sibling in message.siblings),
        answered=tuple(message.answered),
        repaired=message.repaired,
        weak=message.weak,
        epoch=message.epoch,
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
        OwnerCopy(one.node, one.state, tuple(one.dots), one.same, one.answered, one.error) for one in owners
    ]


def _level(level: Level | None) -> str:
    text = "" if level is None else str(level).lower()
    if text in LEVEL_NAMES or (text.isdecimal() and int(text) > 0):
        return text
    raise InvalidArgument(
        f"level {level!r} is not known", hint='a level is "one", "quorum", "all" or a number from 1'
    )


def _durability(durability: str) -> str:
    if durability in DURABILITIES:
        return durability
    raise InvalidArgument(
        f"durability {durability!r} is not known", hint='it is "sync" (the default), "buffered" or "memory"'
    )


def _operation(operation: Operation) -> kv_pb2.OperationId:
    return kv_pb2.OperationId(session=operation.session, sequence=operation.sequence, birth=operation.birth)
