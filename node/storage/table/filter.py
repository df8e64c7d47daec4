"""A Bloom filter that tells whether a table may hold a key; the six bits of a key are in one 64-bit word.

The hash of a key is computed once for all tables; a lookup then costs one index and one `and` per table.  At
12 bits per key about 1 of 100 absent keys passes.  Pure (docs/formats/table.md, "Filter").
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from typing import Final

import xxhash

__all__ = ["PAIRS", "WORD_BYTES", "WORD_SHIFT", "build_filter", "hash_key", "load_filter"]

PAIRS: Final = tuple((1 << (number & 63)) | (1 << (number >> 6)) for number in range(4096))
WORD_BYTES: Final = 8
WORD_SHIFT: Final = 36

hash_key = xxhash.xxh3_64_intdigest


def build_filter(keys: Iterable[bytes], count: int, bits_per_key: int) -> bytes:
    """The filter of `count` keys as little-endian words; empty when it has no bits."""
    words = count * bits_per_key // 64 + 1 if bits_per_key else 0
    bits = [0] * words
    if not words:
        return b""
    pairs = PAIRS
    for hashed in map(hash_key, keys):
        bits[(hashed >> WORD_SHIFT) % words] |= (
            pairs[hashed & 4095] | pairs[hashed >> 12 & 4095] | pairs[hashed >> 24 & 4095]
        )
    packed = array("Q", bits)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def load_filter(data: bytes) -> array[int]:
    """The words of a filter; an empty one lets every key pass.  Raises ValueError for a torn word."""
    words = array("Q")
    words.frombytes(data)
    if sys.byteorder == "big":
        words.byteswap()
    return words or array("Q", [(1 << 64) - 1])
