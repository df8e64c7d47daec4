"""The cursor of a scan: where its next page begins, and which keys it is about.

It names no node and no page, so any node goes on with it at any time.  It is opaque to clients; a damaged one
is refused, because a scan that goes on elsewhere would leave keys out (rule L3).
Layout: docs/formats/scan_cursor.md.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from zlib import crc32

import msgpack

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import KeyspaceId, PartitionId
from ringmill.cluster.limits import MAX_KEY_BYTES
from ringmill.cluster.ring.hashing import MAX_PARTITIONS

__all__ = ["FORMAT_VERSION", "MAX_CURSOR_BYTES", "ScanBounds", "ScanCursor", "decode_cursor", "encode_cursor"]

FORMAT_VERSION: Final = 1
MAX_CURSOR_BYTES: Final = 4 * MAX_KEY_BYTES + 64
_HEAD: Final = bytes([FORMAT_VERSION])
_CHECK_BYTES: Final = 4
_SHAPE: Final = (int, int, int, bytes, bytes, bytes, bytes)


class ScanBounds(NamedTuple):
    """Keys that begin with `prefix`, from `start` on and before `end`; an empty `end` has no bound."""

    prefix: bytes = b""
    start: bytes = b""
    end: bytes = b""


class ScanCursor(NamedTuple):
    """The first key that has not been returned is `key` or a later one of `partition`, or of a later one."""

    keyspace: KeyspaceId
    partition: PartitionId
    key: bytes
    bounds: ScanBounds


def encode_cursor(cursor: ScanCursor) -> bytes:
    body: bytes = msgpack.packb([*cursor.keyspace, cursor.partition, cursor.key, *cursor.bounds])
    sealed = _HEAD + body
    return sealed + crc32(sealed).to_bytes(_CHECK_BYTES, "big")


def decode_cursor(data: bytes) -> ScanCursor:
    """Raises InvalidArgument for anything but what `encode_cursor` made."""
    if len(data) > MAX_CURSOR_BYTES:
        raise _refused(f"is {len(data)} bytes long, at most {MAX_CURSOR_BYTES} are taken")
    sealed, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if not sealed or crc32(sealed).to_bytes(_CHECK_BYTES, "big") != check:
        raise _refused("is damaged")
    if sealed[0] != FORMAT_VERSION:
        raise _refused(f"is of format version {sealed[0]}, this release knows {FORMAT_VERSION}")
    try:
        fields: Any = msgpack.unpackb(sealed[1:])
    except (ValueError, msgpack.UnpackException) as error:
        raise _refused(f"does not decode: {error}") from error
    if type(fields) is not list or tuple(map(type, fields)) != _SHAPE or min(fields[:3]) < 0:
        raise _refused("does not decode")
    epoch, ordinal, partition, key, *bounds = fields
    if partition >= MAX_PARTITIONS or any(len(each) > MAX_KEY_BYTES for each in (key, *bounds)):
        raise _refused("names what does not exist")
    return ScanCursor(KeyspaceId(epoch, ordinal), PartitionId(partition), key, ScanBounds(*bounds))


def _refused(why: str) -> InvalidArgument:
    return InvalidArgument(
        f"the cursor {why}", hint="hand back the cursor of a page unchanged, or scan from the beginning"
    )
