"""Fields that a client carries and hands back unread: a version, a msgpack list and a checksum.

What was damaged on the way is refused, never taken for something else.  The cursors of scans and of watches
are sealed in this way (rules L3 and N4).  Layout: docs/formats/scan_cursor.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final
from zlib import crc32

import msgpack

from ringmill.cluster.errors import InvalidArgument

__all__ = ["Refused", "open_sealed", "seal"]

_CHECK_BYTES: Final = 4

Refused = Callable[[str], InvalidArgument]
"""Makes the error out of what is wrong, e.g. "is damaged"."""


def seal(version: int, fields: Sequence[Any]) -> bytes:
    """`version` is of the format of the fields, 0 to 255."""
    body: bytes = msgpack.packb(list(fields))
    sealed = bytes([version]) + body
    return sealed + crc32(sealed).to_bytes(_CHECK_BYTES, "big")


def open_sealed(data: bytes, version: int, *, most_bytes: int, refused: Refused) -> Any:
    """The fields, of any shape.  Raises what `refused` makes for anything but what `seal` made."""
    if len(data) > most_bytes:
        raise refused(f"is {len(data)} bytes long, at most {most_bytes} are taken")
    sealed, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if not sealed or crc32(sealed).to_bytes(_CHECK_BYTES, "big") != check:
        raise refused("is damaged")
    if sealed[0] != version:
        raise refused(f"is of format version {sealed[0]}, this release knows {version}")
    try:
        return msgpack.unpackb(sealed[1:])
    except (ValueError, msgpack.UnpackException) as error:
        raise refused(f"does not decode: {error}") from error
