"""Compresses a stream of bytes as one gzip member or one zstd frame.

Pure.  The result follows from the bytes alone and not from how they come: they are cut anew into blocks of
one size, and no time or name is noted.  Other versions of zlib and zstd may give other bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import zstandard

__all__ = ["Packer"]

BLOCK_BYTES: Final = 1 << 20
_GZIP: Final = 31  # zlib's window bits for gzip framing; its header has no time
_LEVELS: Final = {"gzip": 6, "zstd": 3}


class Packer:
    """One stream; `compression` is gzip, zstd or none."""

    def __init__(self, compression: str) -> None:
        self._stream = _STREAMS[compression]()
        self._held = bytearray()

    def pack(self, data: bytes) -> Iterator[bytes]:
        """What can be written so far."""
        if self._stream is None:
            yield data
            return
        self._held += data
        while len(self._held) >= BLOCK_BYTES:
            block = bytes(self._held[:BLOCK_BYTES])
            del self._held[:BLOCK_BYTES]
            if packed := self._stream.compress(block):
                yield packed

    def end(self) -> bytes:
        """The rest, after which nothing may come."""
        if self._stream is None:
            return b""
        packed: bytes = self._stream.compress(bytes(self._held)) + self._stream.flush()
        return packed


def _gzip() -> Any:
    return zlib.compressobj(_LEVELS["gzip"], zlib.DEFLATED, _GZIP)


def _zstd() -> Any:
    return zstandard.ZstdCompressor(level=_LEVELS["zstd"]).compressobj()


_STREAMS: Final[dict[str, Callable[[], Any]]] = {"none": lambda: None, "gzip": _gzip, "zstd": _zstd}
