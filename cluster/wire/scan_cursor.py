"""The cursor of a scan: where its next page begins, and which keys it is about.

It names no node and no page, so any node goes on with it at any time.  It is opaque to clients; a damaged one
is refused, because a scan that goes on elsewhere would leave keys out (rule L3).
Layout: docs/formats/scan_cursor.md.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import KeyspaceId, PartitionId
from ringmill.cluster.limits import MAX_KEY_BYTES
from ringmill.cluster.ring.hashing import MAX_PARTITIONS
from ringmill.cluster.wire.sealed_fields import open_sealed, seal

__all__ = ["FORMAT_VERSION", "MAX_CURSOR_BYTES", "ScanBounds", "ScanCursor", "decode_cursor", "encode_cursor"]

FORMAT_VERSION: Final = 1
MAX_CURSOR_BYTES: Final = 4 * MAX_KEY_BYTES + 64
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
    return seal(FORMAT_VERSION, [*cursor.keyspace, cursor.partition, cursor.key, *cursor.bounds])


def decode_cursor(data: bytes) -> ScanCursor:
    """Raises InvalidArgument for anything but what `encode_cursor` made."""
    fields = open_sealed(data, FORMAT_VERSION, most_bytes=MAX_CURSOR_BYTES, refused=_refused)
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
