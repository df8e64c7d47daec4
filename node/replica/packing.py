"""Decodes messages between nodes: msgpack arrays whose fields have the expected types and unsigned numbers.

Anyone who can reach a node's port can send it anything, so a message is checked before any of its fields is
used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from ringmill.cluster.errors import ProtocolMismatch

__all__ = ["check_column", "check_fields", "pack", "unpack"]


def pack(fields: Sequence[Any]) -> bytes:
    packed: bytes = msgpack.packb(fields)
    return packed


def unpack(body: bytes, types: Sequence[type | tuple[type, ...]]) -> list[Any]:
    """The fields of a message.  Raises ProtocolMismatch unless there is one of each of these types."""
    try:
        fields = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException) as error:
        raise ProtocolMismatch(f"a message of {len(body)} bytes does not decode: {error}") from error
    if type(fields) is list and tuple(map(type, fields)) == types and not _has_negative(fields):
        return fields
    return check_fields(fields, types)


def _has_negative(fields: list[Any]) -> bool:
    for field in fields:  # noqa: SIM110 - a loop is faster
        if type(field) is int and field < 0:
            return True
    return False


def check_fields(fields: Any, types: Sequence[type | tuple[type, ...]]) -> list[Any]:
    """The fields of an array inside a message.  Raises ProtocolMismatch unless there is one of each type."""
    if not isinstance(fields, list) or len(fields) != len(types):
        raise ProtocolMismatch(f"a message does not have the {len(types)} fields it should have")
    for number, (field, wanted) in enumerate(zip(fields, types, strict=True)):
        if not isinstance(field, wanted) or (isinstance(field, bool) and wanted is not bool):
            raise ProtocolMismatch(f"field {number} of a message is {type(field).__name__}")
        if isinstance(field, int) and field < 0:  # epochs, counts, times: no number here is below 0
            raise ProtocolMismatch(f"field {number} of a message is {field}")
    return fields


def check_column(column: list[Any], *types: type) -> None:
    """Check the list of one field of many entries.  Raises ProtocolMismatch unless each has one of these
    types and is not negative."""
    if not set(map(type, column)) <= set(types):
        names = " and ".join(each.__name__ for each in types)
        raise ProtocolMismatch(f"a list of a message holds other things than {names}")
    if column and int in types and min(column) < 0:
        raise ProtocolMismatch("a list of a message holds a number below 0")
