"""Compresses one block; a block that does not get smaller is stored raw.  Pure.

The code of a compression is stored with each block, so a table may hold several kinds.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

import lz4.block
import zstandard

__all__ = ["MAX_BLOCK_BYTES", "Compressor", "CannotDecompress", "decompress"]

MAX_BLOCK_BYTES: Final = 256 << 20

_NONE: Final = 0
_ZSTD: Final = 1
_LZ4: Final = 2
_CODES: Final = {"none": _NONE, "zstd": _ZSTD, "lz4": _LZ4}
_LZ4_SIZE: Final = Struct("<I")

# zstandard releases the GIL while it expands, and one context must not serve two threads at once: each
# call takes a free one.  Popping from and appending to a list are atomic.
_free: list[zstandard.ZstdDecompressor] = []


class CannotDecompress(ValueError):
    """Bytes that their compression method cannot expand."""


class Compressor:
    """Compresses blocks by one method (zstd at level 1)."""

    def __init__(self, name: str) -> None:
        self._code = _CODES[name]
        self._zstd = zstandard.ZstdCompressor(level=1)

    def compress(self, data: bytes) -> tuple[int, bytes]:
        """(code, bytes); the code is that of "none" when compressing saves less than an eighth.

        So it is for what is too large to be expanded again, as the index of a table with long keys may be.
        Raises MemoryError.
        """
        if self._code == _NONE or len(data) > MAX_BLOCK_BYTES:
            return _NONE, data
        if self._code == _ZSTD:
            try:
                small = self._zstd.compress(data)
            except zstandard.ZstdError as error:  # it fails for nothing else
                raise MemoryError(str(error)) from error
        else:
            small = lz4.block.compress(data, store_size=True)
        return (self._code, small) if len(small) < len(data) - len(data) // 8 else (_NONE, data)


def decompress(code: int, data: bytes) -> bytes:
    """The block's bytes, at most MAX_BLOCK_BYTES.  Raises CannotDecompress."""
    if code == _NONE:
        return data
    try:
        if code == _ZSTD:
            if not 0 <= zstandard.frame_content_size(data) <= MAX_BLOCK_BYTES:
                raise CannotDecompress("a zstd frame without a size within the limit")
            return _expand(data)
        if code == _LZ4:
            if len(data) < _LZ4_SIZE.size or _LZ4_SIZE.unpack_from(data)[0] > MAX_BLOCK_BYTES:
                raise CannotDecompress("an lz4 block without a size within the limit")
            return bytes(lz4.block.decompress(data))
    except (zstandard.ZstdError, lz4.block.LZ4BlockError) as error:
        raise CannotDecompress(str(error)) from None
    raise CannotDecompress(f"unknown compression code {code}")


def _expand(data: bytes) -> bytes:
    try:
        context = _free.pop()
    except IndexError:
        context = zstandard.ZstdDecompressor()
    try:
        return context.decompress(data)
    finally:
        _free.append(context)
