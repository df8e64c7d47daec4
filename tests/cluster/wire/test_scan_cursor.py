"""Cursors come back as they were made, and nothing else is taken for one."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import KeyspaceId, PartitionId
from ringmill.cluster.wire.scan_cursor import (
    MAX_CURSOR_BYTES,
    ScanBounds,
    ScanCursor,
    decode_cursor,
    encode_cursor,
)

KEYS = some.binary(max_size=1024)
CURSORS = some.builds(
    ScanCursor,
    some.builds(KeyspaceId, some.integers(0, (1 << 64) - 1), some.integers(0, (1 << 32) - 1)),
    some.integers(0, 4095).map(PartitionId),
    KEYS,
    some.builds(ScanBounds, KEYS, KEYS, KEYS),
)


@given(CURSORS)
def test_a_cursor_comes_back_as_it_was_made(cursor: ScanCursor) -> None:
    encoded = encode_cursor(cursor)
    assert len(encoded) <= MAX_CURSOR_BYTES
    assert decode_cursor(encoded) == cursor


@given(CURSORS, some.data())
def test_a_changed_cursor_is_refused(cursor: ScanCursor, data: some.DataObject) -> None:
    encoded = bytearray(encode_cursor(cursor))
    at = data.draw(some.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(some.integers(1, 255))
    with pytest.raises(InvalidArgument):
        decode_cursor(bytes(encoded))
    with pytest.raises(InvalidArgument):
        decode_cursor(encode_cursor(cursor)[:at])


def sealed(data: bytes) -> bytes:
    return data + crc32(data).to_bytes(4, "big")


@pytest.mark.parametrize(
    "data",
    [
        sealed(b"\x02\x97\x01\x00\x00\xc4\x00\xc4\x00\xc4\x00\xc4\x00"),
        sealed(b"\x01"),
        sealed(b"\x01\x90"),
        sealed(b"\x01\x97\x01\xff\x00\xc4\x00\xc4\x00\xc4\x00\xc4\x00"),
        sealed(b"\x01\x97\x01\x00\xcd\x10\x00\xc4\x00\xc4\x00\xc4\x00\xc4\x00"),
        bytes(MAX_CURSOR_BYTES + 1),
    ],
    ids=["version", "empty", "fields", "negative", "partition", "long"],
)
def test_what_is_not_a_cursor_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="cursor"):
        decode_cursor(data)
