"""The cursor of a watch of a prefix: a place in the feed of changes of each member, by its node.

It is opaque to clients and grows with the members alone, never with the keys.  Any node goes on with it.
`is_scan_owed` says that some keys may have changed before its places: all of them have to be looked at before
it counts (rule N4: docs/protocol/watches.md).  Layout: docs/formats/watch_cursor.md.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import Epoch, KeyspaceId
from ringmill.cluster.limits import MAX_KEY_BYTES
from ringmill.cluster.wire.sealed_fields import open_sealed, seal

__all__ = ["MAX_WATCH_CURSOR_BYTES", "WatchCursor", "decode_watch_cursor", "encode_watch_cursor"]

FORMAT_VERSION: Final = 1
MAX_WATCH_CURSOR_BYTES: Final = 64 * 1024
"""Above what 256 members with long names take."""
_SHAPE: Final = (int, int, bytes, bool, dict)


class WatchCursor(NamedTuple):
    """`places` are by node: the name of its feed, and a number in it."""

    keyspace: KeyspaceId
    prefix: bytes
    is_scan_owed: bool
    places: dict[str, tuple[bytes, int]]


def encode_watch_cursor(cursor: WatchCursor) -> bytes:
    places = {node: list(place) for node, place in sorted(cursor.places.items())}
    return seal(FORMAT_VERSION, [*cursor.keyspace, cursor.prefix, cursor.is_scan_owed, places])


def decode_watch_cursor(data: bytes) -> WatchCursor:
    """Raises InvalidArgument for anything but what `encode_watch_cursor` made."""
    fields = open_sealed(data, FORMAT_VERSION, most_bytes=MAX_WATCH_CURSOR_BYTES, refused=_refused)
    if type(fields) is not list or tuple(map(type, fields)) != _SHAPE or min(fields[:2]) < 0:
        raise _refused("does not decode")
    epoch, ordinal, prefix, is_scan_owed, found = fields
    places: dict[str, tuple[bytes, int]] = {}
    for node, place in found.items():
        if type(node) is not str or type(place) is not list or tuple(map(type, place)) != (bytes, int):
            raise _refused("does not decode")
        if not 0 <= place[1] < 1 << 63:
            raise _refused("does not decode")
        places[node] = (place[0], place[1])
    if len(prefix) > MAX_KEY_BYTES:
        raise _refused("names what does not exist")
    return WatchCursor(KeyspaceId(Epoch(epoch), ordinal), prefix, is_scan_owed, places)


def _refused(why: str) -> InvalidArgument:
    return InvalidArgument(
        f"the cursor {why}", hint="hand back the cursor of a change unchanged, or watch from the beginning"
    )
