"""Makes the messages of reads and writes of keys, from checked arguments, and reads their answers.

What a caller may ask of a write is listed here once, as settings, which methods take and pass on whole.
`put_options` and its like check them and make one value.  Nothing here sends: client/kv.py sends one request,
client/routing/window.py many.
"""

from __future__ import annotations

from typing import Final, TypedDict, TypeVar, Unpack

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
    "DeleteSettings",
    "MISSING",
    "ManyPutsSettings",
    "Missing",
    "PutSettings",
    "TouchSettings",
    "delete_options",
    "found_item",
    "many_puts_options",
    "put_options",
    "read_message",
    "read_options",
    "touch_message",
    "touch_options",
    "write_message",
]

T = TypeVar("T")


class Missing:
    """The type of `MISSING`, which says that no default was given."""


MISSING: Final = Missing()
_DEFAULT_WRITE: Final = WriteOptions()
_DEFAULT_READ: Final = ReadOptions()


class ManyPutsSettings(TypedDict, total=False):
    """What the caller of `mput` may ask of each put."""

    w: Level | None
    durability: Durability | None
    ttl: Seconds | None
    timeout: Seconds | None


class PutSettings(ManyPutsSettings, total=False):
    """What the caller of `put` may ask of it."""

    context: ContextLike | None


class DeleteSettings(TypedDict, total=False):
    """What the caller of `delete` may ask of it."""

    context: ContextLike | None
    w: Level | None
    durability: Durability | None
    timeout: Seconds | None


def put_options(
    *,
    context: ContextLike | None = None,
    w: Level | None = None,
    durability: Durability | None = None,
    ttl: Seconds | None = None,
    timeout: Seconds | None = None,
) -> WriteOptions:
    """The options of a put as one value.  Raises InvalidArgument."""
    if context is None and w is None and durability is None and ttl is None and timeout is None:
        return _DEFAULT_WRITE  # as nearly always
    seen = checked_context(context)
    return WriteOptions(
        level=checked_level("w", w),
        durability=checked_durability(durability),
        context=seen.token if seen else b"",
        is_blind=seen == EMPTY,
        ttl_ms=checked_ttl_ms(ttl),
        timeout_s=0.0 if timeout is None else checked_timeout_s(timeout),
    )


class TouchSettings(TypedDict, total=False):
    """What the caller of `touch` may ask of it, beside the ttl."""

    w: Level | None
    durability: Durability | None
    timeout: Seconds | None


def touch_options(ttl: Seconds | None, **settings: Unpack[TouchSettings]) -> WriteOptions:
    """The options of a touch; without a ttl the value never expires.  Raises InvalidArgument; TypeError for a
    context."""
    return put_options(ttl=ttl, **_without(settings, "context", "touch"))


def many_puts_options(**settings: Unpack[ManyPutsSettings]) -> WriteOptions:
    """The options of each put of many.  Raises InvalidArgument; TypeError for a context."""
    return put_options(**_without(settings, "context", "mput"))


def delete_options(**settings: Unpack[DeleteSettings]) -> WriteOptions:
    """The options of a delete.  Raises InvalidArgument; TypeError for a ttl."""
    return put_options(**_without(settings, "ttl", "delete"))


def read_options(*, r: Level | None = None, timeout: Seconds | None = None) -> ReadOptions:
    """The options of a read as one value.  Raises InvalidArgument."""
    if r is None and timeout is None:
        return _DEFAULT_READ
    return ReadOptions(checked_level("r", r), 0.0 if timeout is None else checked_timeout_s(timeout))


def write_message(
    keyspace: str,
    key: bytes,
    value: bytes | None,
    options: WriteOptions,
    operations: OperationNames,
    *,
    entry: bytes = b"",
    amount: int = 0,
    newest: int = 0,
) -> WriteMessage:
    """A put or, with None as the value, a delete.  It has an operation id of its own.

    `newest` is the newest time that its session has seen.

    Of an `entry`, or of an `amount` to add, where the keyspace has such values (client/merging/).
    """
    message = kv_pb2.DeleteRequest() if value is None else kv_pb2.PutRequest(value=value)
    message.keyspace, message.key = keyspace, key
    _name(message, operations, newest)
    options.fill(message)
    if entry:
        message.entry = entry
    if amount and isinstance(message, kv_pb2.PutRequest):
        message.amount = amount
    return message


def touch_message(
    keyspace: str, key: bytes, options: WriteOptions, operations: OperationNames, newest: int = 0
) -> kv_pb2.TouchRequest:
    """A touch.  It has an operation id of its own.  `newest` as of `write_message`."""
    message = kv_pb2.TouchRequest(keyspace=keyspace, key=key)
    _name(message, operations, newest)
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


def _name(message: WriteMessage, operations: OperationNames, newest: int) -> None:
    name, operation = operations.next(newest), message.operation
    operation.session, operation.sequence, operation.birth = name.session, name.sequence, name.birth
    if name.attempt:
        message.attempt = name.attempt


def _without(settings: T, name: str, verb: str) -> T:
    """The settings, which a type checker has seen and Python has not.  Raises TypeError when it is there."""
    if isinstance(settings, dict) and name in settings:
        raise TypeError(f"{verb}() got an unexpected keyword argument '{name}'")
    return settings
