"""Cuts a zstd file where its blocks end, as its decompressor takes no bound for what it gives.

Pure.  One block unpacks to 128 KiB at most, whatever its stored size: 4 bytes may be a block.  Bytes that are
no zstd go on as they are, for the decompressor to tell.

Layout: RFC 8878, section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["zstd_pieces"]

_FRAME: Final = b"\x28\xb5\x2f\xfd"
_SKIPPED: Final = b"\x2a\x4d\x18"  # behind a byte 50 to 5f: a frame of bytes that are no content
_MOST_SKIPPED: Final = 1 << 20  # at once
_DICTIONARY_BYTES: Final = (0, 1, 2, 4)
_SIZE_BYTES: Final = (0, 2, 4, 8)
_REPEATED: Final = 1  # a block of one byte, many times


def zstd_pieces(stored: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes; no piece has more than one block, or parts of two frames."""
    taken = _Taken(stored)
    while start := taken.next(4):
        yield start
        if start == _FRAME:
            yield from _frame(taken)
        elif start[1:] == _SKIPPED and start[0] >> 4 == 5:
            yield (size := taken.next(4))
            left = int.from_bytes(size, "little")
            while left and (piece := taken.next(min(left, _MOST_SKIPPED))):
                yield piece
                left -= len(piece)


def _frame(taken: _Taken) -> Iterator[bytes]:
    """What is behind the first four bytes of a frame."""
    descriptor = taken.next(1)
    if not descriptor:
        return
    flags = descriptor[0]
    is_one_segment = flags >> 5 & 1
    size_bytes = _SIZE_BYTES[flags >> 6] or is_one_segment
    yield descriptor + taken.next(1 - is_one_segment + _DICTIONARY_BYTES[flags & 3] + size_bytes)
    is_last = False
    while not is_last and (header := taken.next(3)):
        fields = int.from_bytes(header, "little")
        is_last, kind, size = bool(fields & 1), fields >> 1 & 3, fields >> 3
        yield header + taken.next(1 if kind == _REPEATED else size)
    if flags >> 2 & 1:
        yield taken.next(4)  # a checksum


class _Taken:
    """Bytes in pieces of any size."""

    def __init__(self, stored: Iterator[bytes]) -> None:
        self._stored = stored
        self._held = b""

    def next(self, size: int) -> bytes:
        """This number of bytes; fewer at the end alone."""
        parts, missing = [self._held], size - len(self._held)
        while missing > 0 and (more := next(self._stored, b"")):
            parts.append(more)
            missing -= len(more)
        held = b"".join(parts)
        self._held = held[size:]
        return held[:size]
