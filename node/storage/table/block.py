"""A data block: sorted keys and their cells, in columns.

Columns, because a few calls that run in C can then decode the whole block, which makes a get or a scan in
Python fast (docs/formats/table.md, "Data block").  A cell is one version of a key: 8 bytes of (sequence << 8
| kind), then the value.  All versions of a key are in one block, newest first.  Pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
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
_unpack_head = _HEAD.unpack_from
_unpack_length = Struct("<I").unpack_from
_OBJECT_BYTES: Final = 384  # of a Block and its fields besides `data`, and of its place in a cache


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
    """The bytes of a block, and where its columns lie in them.

    Nothing is taken apart before it is asked for: a block that a get loads is mostly asked for one key.  As
    bytes it also takes less memory than as tuples of keys and offsets (3.8 kB instead of 6.4 for 28 records),
    and gives the garbage collector little to walk.
    """

    __slots__ = ("cell_width", "cells_at", "count", "data", "key_width", "keys_at", "prefix")

    def __init__(
        self,
        data: bytes,
        count: int,
        prefix: bytes,
        keys_at: int,
        key_width: int,
        cells_at: int,
        cell_width: int,
    ) -> None:
        self.data = data
        self.count = count
        self.prefix = prefix
        self.keys_at = keys_at
        self.key_width = key_width  # bytes of each key without the prefix; -1 when they differ
        self.cells_at = cells_at
        self.cell_width = cell_width  # bytes of each cell; 0 when they differ

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory, its place in the cache included."""
        return len(self.data) + _OBJECT_BYTES

    @property
    def keys(self) -> list[bytes]:
        prefix = self.prefix
        return [prefix + key for key in self._suffixes()] if prefix else list(self._suffixes())

    def find(self, key: bytes, sequence: int) -> tuple[int, bytes | None] | None:
        """The newest version of `key` at or below `sequence` as (sequence, value), or None."""
        prefix = self.prefix
        if not key.startswith(prefix):
            return None
        suffix = key[len(prefix) :]
        data, keys_at, width = self.data, self.keys_at, self.key_width
        if width == len(suffix) and width:
            # a search of the bytes runs in C, and costs a fraction of comparing key by key
            at = data.find(suffix, keys_at, self.cells_at) - keys_at
            if at < 0:
                return None
            number = at // width
            if number * width != at:  # found across two keys
                number = self._number_from(number + 1, suffix)
        else:
            number = self._number_of(suffix)
        if number < 0:
            return None
        width = self.cell_width
        if width:
            start = self.cells_at + number * width
            end = start + width
        else:
            lengths = _lengths("I", number + 1).unpack_from(data, keys_at - 4 * self.count)
            end = self.cells_at + sum(lengths)
            start = end - lengths[number]
        head: int = _unpack_cell(data, start)[0]
        if head >> 8 > sequence:
            return self._find_older(key, sequence)
        return head >> 8, data[start + CELL_HEAD_BYTES : end] if head & VALUE else None

    def cells(self) -> Sequence[bytes]:
        """The cell of each key."""
        width = self.cell_width
        if width:
            return _pieces(0, width, self.count).unpack_from(self.data, self.cells_at)
        data = self.data
        return [data[start:end] for start, end in pairwise(self._cell_starts())]

    def values(self) -> Sequence[bytes]:
        """The value of each key; b"" for a deletion."""
        width = self.cell_width
        if width:
            return _pieces(CELL_HEAD_BYTES, width - CELL_HEAD_BYTES, self.count).unpack_from(
                self.data, self.cells_at
            )
        data = self.data
        return [data[start + 8 : end] for start, end in pairwise(self._cell_starts())]

    def heads(self) -> list[int]:
        """sequence << 8 | kind of each key."""
        data = self.data
        return [_unpack_cell(data, start)[0] for start in self._cell_starts()[:-1]]

    def _number_of(self, suffix: bytes) -> int:
        """The number of the first, that is newest, version of a key without its prefix; -1 for none."""
        width = self.key_width
        if width >= 0:
            return 0 if width == len(suffix) == 0 else -1
        data, cells_at = self.data, self.cells_at
        at = data.find(suffix, self.keys_at, cells_at)
        if at < 0:
            return -1
        lengths = self._key_lengths()
        if not suffix:
            return -1 if lengths[0] else 0
        starts = list(accumulate(lengths, initial=self.keys_at))
        while at >= 0:
            number = bisect_right(starts, at) - 1
            if starts[number] == at and lengths[number] == len(suffix):
                return number
            at = data.find(suffix, starts[number + 1], cells_at)  # it was inside a key, or across two
        return -1

    def _number_from(self, first: int, suffix: bytes) -> int:
        """The number of key `suffix`, searched from key `first` on; -1 if absent.  All keys are as long."""
        data, width, keys_at, cells_at = self.data, self.key_width, self.keys_at, self.cells_at
        number = first
        while (at := data.find(suffix, keys_at + number * width, cells_at)) >= 0:
            number, beyond = divmod(at - keys_at, width)
            if not beyond:
                return number
            number += 1
        return -1

    def _find_older(self, key: bytes, sequence: int) -> tuple[int, bytes | None] | None:
        keys = self.keys
        first = bisect_left(keys, key)
        for head, value in zip(
            self.heads()[first : bisect_right(keys, key)], self.values()[first:], strict=False
        ):
            if head >> 8 <= sequence:
                return head >> 8, value if head & VALUE else None
        return None

    def _suffixes(self) -> Sequence[bytes]:
        data, width = self.data, self.key_width
        if width > 0:
            return _pieces(0, width, self.count).unpack_from(data, self.keys_at)
        starts = accumulate(self._key_lengths(), initial=self.keys_at)
        return [data[start:end] for start, end in pairwise(starts)]

    def _key_lengths(self) -> tuple[int, ...]:
        return _lengths("H", self.count).unpack_from(self.data, self.keys_at - 6 * self.count)

    def _cell_starts(self) -> Sequence[int]:
        """Where each cell begins, and the end of the last."""
        width = self.cell_width
        if width:
            return range(self.cells_at, len(self.data) + 1, width)
        lengths = _lengths("I", self.count).unpack_from(self.data, self.keys_at - 4 * self.count)
        return list(accumulate(lengths, initial=self.cells_at))


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
        count, cut = _unpack_head(data)
        at = _HEAD.size + cut
        keys_at = at + 6 * count
        if not count or keys_at > len(data):
            raise MalformedBlock(f"{count} keys in a block of {len(data)} bytes")
        middle = at + 2 * count
        key_width = -1
        # one comparison in C shows that all lengths are the first one, and is a fraction of unpacking them
        if data[at:middle] == data[at : at + 2] * count:
            key_width = data[at] | data[at + 1] << 8
            cells_at = keys_at + key_width * count
        else:
            cells_at = keys_at + sum(_lengths("H", count).unpack_from(data, at))
        if data[middle:keys_at] == data[middle : middle + 4] * count:
            (cell_width,) = _unpack_length(data, middle)
            least, end = cell_width, cells_at + cell_width * count
        else:
            cell_width = 0
            lengths = _lengths("I", count).unpack_from(data, middle)
            least, end = min(lengths), cells_at + sum(lengths)
    except error:
        raise MalformedBlock(f"lengths beyond the {len(data)} bytes of a block") from None
    if end != len(data) or least < CELL_HEAD_BYTES:
        raise MalformedBlock(f"cells end at byte {end} of {len(data)}")
    return Block(data, count, data[_HEAD.size : at], keys_at, key_width, cells_at, cell_width)


@lru_cache(maxsize=4096)
def _lengths(code: str, count: int) -> Struct:
    return Struct(f"<{count}{code}")


@lru_cache(maxsize=4096)
def _pieces(skipped: int, size: int, count: int) -> Struct:
    """Takes `count` pieces of `size` bytes, before each of which `skipped` bytes are left out."""
    return Struct((f"{skipped}x{size}s" if skipped else f"{size}s") * count)


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
