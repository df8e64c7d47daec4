"""A batch of changes, and its bytes in the log.

Each change is a 7 byte head (kind, key length, value length), the key and the value (docs/formats/log.md).
A batch becomes visible and durable as a whole; of two changes of one key the later counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, error
from typing import Final

from ringmill.cluster.errors import InvalidArgument

__all__ = [
    "DELETE",
    "DROP_PREFIX",
    "MAX_BATCH_BYTES",
    "MAX_RECORD_KEY_BYTES",
    "MAX_RECORD_VALUE_BYTES",
    "PUT",
    "Batch",
    "MalformedBatch",
    "parse_changes",
]

PUT: Final = 1
DELETE: Final = 2
DROP_PREFIX: Final = 3

MAX_RECORD_KEY_BYTES: Final = 0xFFFF
MAX_RECORD_VALUE_BYTES: Final = 32 << 20
MAX_BATCH_BYTES: Final = 64 << 20

_HEAD: Final = Struct("<BHI")
_pack_head = _HEAD.pack
_HEAD_BYTES: Final = _HEAD.size


class MalformedBatch(ValueError):
    """Bytes that are not an encoded batch."""


class Batch:
    """Changes to be applied together, in order.  Raises InvalidArgument when one is above a limit."""

    __slots__ = ("changes", "drops", "parts", "size_bytes")

    def __init__(self) -> None:
        self.changes: list[tuple[bytes, bytes | None]] = []
        self.drops: list[bytes] = []
        self.parts: list[bytes] = []
        self.size_bytes = 0

    def put(self, key: bytes, value: bytes) -> None:
        key_bytes = len(key)
        value_bytes = len(value)
        if key_bytes > MAX_RECORD_KEY_BYTES or value_bytes > MAX_RECORD_VALUE_BYTES or not key_bytes:
            raise _over_limit(key, value_bytes)
        self.parts += (_pack_head(PUT, key_bytes, value_bytes), key, value)
        self.changes.append((key, value))
        self.size_bytes += _HEAD_BYTES + key_bytes + value_bytes

    def delete(self, key: bytes) -> None:
        if len(key) > MAX_RECORD_KEY_BYTES or not key:
            raise _over_limit(key, 0)
        self.parts += (_pack_head(DELETE, len(key), 0), key)
        self.changes.append((key, None))
        self.size_bytes += _HEAD_BYTES + len(key)

    def drop_prefix(self, prefix: bytes) -> None:
        """Delete all keys that begin with `prefix` and were written before this batch."""
        if len(prefix) > MAX_RECORD_KEY_BYTES or not prefix:
            raise _over_limit(prefix, 0)
        self.parts += (_pack_head(DROP_PREFIX, len(prefix), 0), prefix)
        self.drops.append(prefix)
        self.size_bytes += _HEAD_BYTES + len(prefix)

    def __len__(self) -> int:
        return len(self.changes) + len(self.drops)

    def encode(self) -> bytes:
        if self.size_bytes > MAX_BATCH_BYTES:
            raise InvalidArgument(f"a batch of {self.size_bytes} bytes is over {MAX_BATCH_BYTES}: split it")
        return b"".join(self.parts)


def parse_changes(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes, bytes]]:
    """(kind, key, value) of each change in data[start:end].  Raises MalformedBatch."""
    unpack = _HEAD.unpack_from
    at = start
    while at < end:
        try:
            kind, key_bytes, value_bytes = unpack(data, at)
        except error:
            raise MalformedBatch(f"{end - at} stray bytes after the last change") from None
        middle = at + _HEAD_BYTES + key_bytes
        after = middle + value_bytes
        if after > end or not PUT <= kind <= DROP_PREFIX or not key_bytes or (value_bytes and kind != PUT):
            raise MalformedBatch(f"change of kind {kind}, {key_bytes} + {value_bytes} bytes at byte {at}")
        yield kind, data[at + _HEAD_BYTES : middle], data[middle:after]
        at = after


def _over_limit(key: bytes, value_bytes: int) -> InvalidArgument:
    if not key:
        return InvalidArgument("a key has 0 bytes; it must have at least 1")
    if len(key) > MAX_RECORD_KEY_BYTES:
        return InvalidArgument(f"a key of {len(key)} bytes is over the limit of {MAX_RECORD_KEY_BYTES}")
    return InvalidArgument(f"a value of {value_bytes} bytes is over the limit of {MAX_RECORD_VALUE_BYTES}")
