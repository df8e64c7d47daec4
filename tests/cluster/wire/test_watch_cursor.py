"""Cursors of watches come back as they were made, and nothing else is taken for one."""

from __future__ import annotations

from zlib import crc32

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as some

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import Epoch, KeyspaceId
from ringmill.cluster.wire.watch_cursor import (
    MAX_WATCH_CURSOR_BYTES,
    WatchCursor,
    decode_watch_cursor,
    encode_watch_cursor,
)

CURSORS = some.builds(
    WatchCursor,
    some.builds(KeyspaceId, some.integers(0, (1 << 64) - 1).map(Epoch), some.integers(0, (1 << 32) - 1)),
    some.binary(max_size=1024),
    some.booleans(),
    some.dictionaries(
        some.text(max_size=64), some.tuples(some.binary(max_size=20), some.integers(0, (1 << 63) - 1))
    ),
)


@given(CURSORS)
def test_a_cursor_comes_back_as_it_was_made(cursor: WatchCursor) -> None:
    assert decode_watch_cursor(encode_watch_cursor(cursor)) == cursor


@given(CURSORS, some.data())
def test_a_changed_cursor_is_refused(cursor: WatchCursor, data: some.DataObject) -> None:
    encoded = bytearray(encode_watch_cursor(cursor))
    at = data.draw(some.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(some.integers(1, 255))
    with pytest.raises(InvalidArgument):
        decode_watch_cursor(bytes(encoded))


def sealed(body: object, version: int = 1) -> bytes:
    data: bytes = bytes([version]) + msgpack.packb(body)
    return data + crc32(data).to_bytes(4, "big")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        sealed([1, 0, b"", False, {}], version=2),
        sealed([1, 0, b"", False]),
        sealed([-1, 0, b"", False, {}]),
        sealed([1, 0, bytes(1025), False, {}]),
        sealed([1, 0, b"", False, {"n1": [b"f"]}]),
        sealed([1, 0, b"", False, {"n1": [b"f", -1]}]),
        sealed([1, 0, b"", False, {7: [b"f", 1]}]),
        sealed([1, 0, b"", False, {"n" * MAX_WATCH_CURSOR_BYTES: [b"f", 1]}]),
        sealed("text"),
    ],
)
def test_what_is_not_a_cursor_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="the cursor"):
        decode_watch_cursor(data)
