"""A data block: sorted keys and their cells, in columns.

Columns, because a few calls that run in C can then decode the whole block, which makes a get or a scan in
Python fast (docs/formats/table.md, "Data block").  A cell is one version of a key: 8 bytes of (sequence << 8
| kind), then the value.  All versions of a key are in one block, newest first.  Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from struct import Struct, error
from typing import Final

__all__ = [
    "CELL_HEAD_BYTES",
    "VALUE",
    "Block",
    "MalformedBlock",
    "cell_head",
    "cell_of",
    "decode_block",
    "encode_block",
    "without_sequence",
]

VALUE: Final = 1  # kind of a cell; that of a deletion is 0
CELL_HEAD_BYTES: Final = 8

_HEAD: Final = Struct("<IH")
_CELL: Final = Struct("<Q")
_pack_cell = _CELL.pack
_unpack_cell = _CELL.unpack_from


class MalformedBlock(ValueError):
    """Bytes that are not an encoded block."""


def cell_of(sequence: int, value: bytes | None) -> bytes:
    """The cell of one version; None is a deletion."""
    if value is None:
        return _pack_cell(sequence << 8)
    return _pack_cell(sequence << 8 | VALUE) + value


def without_sequence(cell: bytes) -> bytes:
    """The cell with sequence 0, which is older than all others and compresses to almost nothing."""
    return _pack_cell(cell[0]) + cell[CELL_HEAD_BYTES:]


def cell_head(cell: bytes) -> int:
    """sequence << 8 | kind of a cell."""
    head: int = _unpack_cell(cell)[0]
    return head


class Block:
    """A decoded block.  `starts[i]` to `starts[i + 1]` is the cell of `keys[i]` in `data`.

    Keys are kept without their common prefix, because a get does not need whole keys.  They are in tuples of
    bytes and numbers, which the garbage collector soon stops tracking: with lists, a cache of some thousand
    blocks delayed the loop by 40 ms at each full collection.
    """

    __slots__ = ("data", "prefix", "size_bytes", "starts", "suffixes")

    def __init__(
        self, prefix: bytes, suffixes: tuple[bytes, ...], starts: tuple[int, ...], data: bytes
    ) -> None:
        self.prefix = prefix
        self.suffixes = suffixes
        self.starts = starts
        self.data = data
        self.size_bytes = 2 * len(data) + 80 * len(suffixes)  # about what it takes in memory

    @property
    def keys(self) -> list[bytes]:
        prefix = self.prefix
        return [prefix + key for key in self.suffixes] if prefix else list(self.suffixes)

    def find(self, key: bytes, sequence: int) -> tuple[int, bytes | None] | None:
        """The newest version of `key` at or below `sequence` as (sequence, value), or None."""
        suffixes, prefix = self.suffixes, self.prefix
        if prefix:
            if not key.startswith(prefix):
                return None
            key = key[len(prefix) :]
        at = bisect_left(suffixes, key)
        while at < len(suffixes) and suffixes[at] == key:
            start = self.starts[at]
            head = _unpack_cell(self.data, start)[0]
            if head >> 8 <= sequence:
                value = self.data[start + CELL_HEAD_BYTES : self.starts[at + 1]] if head & VALUE else None
                return head >> 8, value
            at += 1
        return None

    def cells(self, first: int, last: int) -> list[bytes]:
        """The cells of keys[first:last]."""
        data = self.data
        return [data[start:end] for start, end in pairwise(self.starts[first : last + 1])]

    def values(self, first: int, last: int) -> list[bytes]:
        """The values of keys[first:last], where none is a deletion."""
        data = self.data
        return [data[start + 8 : end] for start, end in pairwise(self.starts[first : last + 1])]

    def heads(self, first: int, last: int) -> list[int]:
        """sequence << 8 | kind of keys[first:last]."""
        data = self.data
        return [_unpack_cell(data, start)[0] for start in self.starts[first:last]]


def encode_block(keys: Sequence[bytes], cells: Sequence[bytes]) -> bytes:
    """The bytes of a block of at least one key."""
    count = len(keys)
    prefix = _common_prefix(keys[0], keys[-1])
    cut = len(prefix)
    suffixes = [key[cut:] for key in keys] if cut else keys
    return b"".join(
        (
            _HEAD.pack(count, cut),
            prefix,
            _lengths("H", count).pack(*map(len, suffixes)),
            _lengths("I", count).pack(*map(len, cells)),
            *suffixes,
            *cells,
        )
    )


def decode_block(data: bytes) -> Block:
    """Raises MalformedBlock when the lengths inside do not add up to the size of `data`."""
    try:
        count, cut = _HEAD.unpack_from(data, 0)
        at = _HEAD.size + cut
        if not count or at + 6 * count > len(data):
            raise MalformedBlock(f"{count} keys in a block of {len(data)} bytes")
        prefix = data[_HEAD.size : at]
        suffix_lengths = _lengths("H", count).unpack_from(data, at)
        at += 2 * count
        cell_lengths = _lengths("I", count).unpack_from(data, at)
        at += 4 * count
        suffixes, at = _cut_keys(data, at, suffix_lengths)
    except error:
        raise MalformedBlock(f"lengths beyond the {len(data)} bytes of a block") from None
    starts = tuple(accumulate(cell_lengths, initial=at))
    if starts[-1] != len(data) or min(cell_lengths) < CELL_HEAD_BYTES:
        raise MalformedBlock(f"cells end at byte {starts[-1]} of {len(data)}")
    return Block(prefix, suffixes, starts, data)


def _cut_keys(data: bytes, at: int, lengths: tuple[int, ...]) -> tuple[tuple[bytes, ...], int]:
    first = lengths[0]
    if first and lengths.count(first) == len(lengths):
        keys = _pieces(first, len(lengths)).unpack_from(data, at)
        return keys, at + first * len(lengths)
    starts = list(accumulate(lengths, initial=at))
    if starts[-1] > len(data):
        raise MalformedBlock(f"keys end at byte {starts[-1]} of {len(data)}")
    return tuple([data[start:end] for start, end in pairwise(starts)]), starts[-1]


@lru_cache(maxsize=4096)
def _lengths(code: str, count: int) -> Struct:
    return Struct(f"<{count}{code}")


@lru_cache(maxsize=4096)
def _pieces(size: int, count: int) -> Struct:
    return Struct(f"{size}s" * count)


def _common_prefix(first: bytes, last: bytes) -> bytes:
    """The common prefix of two keys; all keys between them in order share it."""
    low, high = 0, min(len(first), len(last))
    if first[:high] == last[:high]:
        return first[:high]
    while low < high:
        middle = (low + high + 1) // 2
        if first[:middle] == last[:middle]:
            low = middle
        else:
            high = middle - 1
    return first[:low]
