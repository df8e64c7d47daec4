"""Makes the messages of reads and writes of keys, from checked arguments, and reads their answers.

`write_options` and `read_options` check the options of a call and make one value of them, which travels on
whole.  Nothing here sends: client/kv.py sends one request, client/routing/window.py many.
"""

from __future__ import annotations

from typing import Final, TypeVar

from ringmill.client.arguments import (
    ContextLike,
    Durability,
    Level,
    Seconds,
    checked_context,
    checked_durability,
    checked_level,
    checked_timeout_s,
    checked_ttl_ms,
)
from ringmill.client.operations import OperationNames
from ringmill.client.values import EMPTY, Item, item_of
from ringmill.cluster.errors import NotFound
from ringmill.cluster.wire.request_options import ReadOptions, WriteMessage, WriteOptions
from ringmill.cluster.wire.stubs import kv_pb2

__all__ = [
    "MISSING",
    "Missing",
    "found_item",
    "read_message",
    "read_options",
    "write_message",
    "write_options",
]

T = TypeVar("T")


class Missing:
    """The type of `MISSING`, which says that no default was given."""


MISSING: Final = Missing()


def write_options(
    *,
    context: ContextLike | None = None,
    w: Level | None = None,
    durability: Durability | None = None,
    ttl: Seconds | None = None,
    timeout: Seconds | None = None,
) -> WriteOptions:
    """The options of a write as one value.  Raises InvalidArgument."""
    seen = checked_context(context)
    return WriteOptions(
        level=checked_level("w", w),
        durability=checked_durability(durability),
        context=seen.token if seen else b"",
        is_blind=seen == EMPTY,
        ttl_ms=checked_ttl_ms(ttl),
        timeout_s=0.0 if timeout is None else checked_timeout_s(timeout),
    )


def read_options(*, r: Level | None = None, timeout: Seconds | None = None) -> ReadOptions:
    """The options of a read as one value.  Raises InvalidArgument."""
    return ReadOptions(checked_level("r", r), 0.0 if timeout is None else checked_timeout_s(timeout))


def write_message(
    keyspace: str, key: bytes, value: bytes | None, options: WriteOptions, operations: OperationNames
) -> WriteMessage:
    """A put or, with None as the value, a delete.  It has an operation id of its own."""
    name = operations.next()
    message: WriteMessage = kv_pb2.DeleteRequest() if value is None else kv_pb2.PutRequest(value=value)
    message.keyspace, message.key = keyspace, key
    operation = message.operation
    operation.session, operation.sequence, operation.birth = name.session, name.sequence, name.birth
    options.fill(message)
    return message


def read_message(keyspace: str, key: bytes, options: ReadOptions) -> kv_pb2.GetRequest:
    """A get."""
    message = kv_pb2.GetRequest(keyspace=keyspace, key=key)
    options.fill(message)
    return message


def found_item(answer: kv_pb2.GetResponse, keyspace: str, key: bytes, default: T | Missing) -> Item | T:
    """The item of an answer, or the default.  Raises NotFound when there is neither."""
    item = item_of(answer)
    if item is not None:
        return item
    if isinstance(default, Missing):
        shown = key.decode("utf-8", "backslashreplace")
        raise NotFound(
            f"not found: {shown}",
            detail={"keyspace": keyspace, "answered": list(answer.answered)},
            hint=f"`ringmill locate {shown}` shows what each owner holds of it",
        )
    return default
