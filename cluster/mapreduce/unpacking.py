"""Compressed input files as a stream of plain bytes: .gz (any number of members) and .zst (any of frames).

I/O only through the ReadFile passed in; one block in memory at a time, however far it unpacks.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

import zstandard

from cluster.mapreduce.failures import Cause, TaskFailed
from cluster.ports import ReadFile

__all__ = ["unpacked_blocks"]

READ_BYTES: Final = 16 << 10  # small, as one byte may unpack to thousands
BLOCK_BYTES: Final = 1 << 20
_GZIP: Final = 31  # zlib's window bits for gzip framing


def unpacked_blocks(file: ReadFile) -> Iterator[bytes]:
    """The content of a .gz or .zst file.  Raises TaskFailed when it is damaged or cut off."""
    unpack = _gzip_blocks if file.path.endswith(".gz") else _zstd_blocks
    try:
        yield from unpack(file)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise TaskFailed(Cause.USER_ERROR, f"cannot unpack: {error}", (), file.path) from error


def _gzip_blocks(file: ReadFile) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP)
    for stored in _stored_blocks(file):
        rest = stored
        while rest:
            if member.eof:
                member = zlib.decompressobj(_GZIP)
            if plain := member.decompress(rest, BLOCK_BYTES):
                yield plain
            rest = member.unconsumed_tail or member.unused_data
    while not member.eof and (plain := member.decompress(b"", BLOCK_BYTES)):
        yield plain
    if not member.eof and file.size:
        raise EOFError("the last gzip member is cut off")


def _zstd_blocks(file: ReadFile) -> Iterator[bytes]:
    frame = zstandard.ZstdDecompressor().decompressobj()
    started = False
    for stored in _stored_blocks(file):
        rest = stored
        while rest:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
            started = True
            if plain := frame.decompress(rest):
                yield plain
            rest = frame.unused_data if frame.eof else b""
    if started and not frame.eof:
        raise EOFError("the last zstd frame is cut off")


def _stored_blocks(file: ReadFile) -> Iterator[bytes]:
    at = 0
    while data := file.pread(READ_BYTES, at):
        at += len(data)
        yield data
