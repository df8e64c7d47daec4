"""Compressed input files as a stream of plain bytes: .gz, .bz2, .xz, .zst and .lz4, of any number of streams
each.

I/O only through the ReadFile passed in; one block in memory at a time, however far it unpacks.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

import lz4.frame
import zstandard

from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files.parsing.zstd_pieces import zstd_pieces
from ringmill.cluster.ports import ReadFile

__all__ = ["unpacked_blocks"]

READ_BYTES: Final = 16 << 10  # small, as one byte may unpack to thousands
BLOCK_BYTES: Final = 1 << 20
_DAMAGED: Final = (
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    EOFError,
    OSError,
    RuntimeError,  # of lz4
)
_GZIP: Final = 31  # zlib's window bits for gzip framing


def unpacked_blocks(file: ReadFile, *, most_window_bytes: int = 0) -> Iterator[bytes]:
    """The content of a compressed file.  Raises TaskFailed when it is damaged or cut off.

    A zstd frame says how much of what was unpacked has to be kept for the rest; one that wants more than
    `most_window_bytes` counts as damaged.  0 is for zstd's own bound, 128 MiB.
    """
    unpack = _UNPACK[file.path.rpartition(".")[2]]
    if unpack is _zstd_blocks:
        unpack = partial(_zstd_blocks, most_window_bytes=most_window_bytes)
    try:
        yield from unpack(file)
    except _DAMAGED as error:
        if (
            isinstance(error, OSError) and error.errno is not None
        ):  # of the disk: bz2 raises one without a number
            raise
        raise TaskFailed(Cause.USER_ERROR, f"cannot unpack: {error}", (), file.path) from error


def _gzip_blocks(file: ReadFile) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP)
    for stored in _stored_blocks(file):
        rest = stored
        while rest:
            if member.eof:  # zeros may stand behind a member, as a tape's block is filled with them
                if not (rest := rest.lstrip(b"\0")):
                    break
                member = zlib.decompressobj(_GZIP)
            if plain := member.decompress(rest, BLOCK_BYTES):
                yield plain
            rest = member.unconsumed_tail or member.unused_data
    while not member.eof and (plain := member.decompress(b"", BLOCK_BYTES)):
        yield plain
    if not member.eof and file.size:
        raise EOFError("the last gzip member is cut off")


class _Decompressor(Protocol):
    """What bz2, lzma and lz4 have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _stream_blocks(begin: Callable[[], _Decompressor], padding: bytes, file: ReadFile) -> Iterator[bytes]:
    """Streams one after the other; between them `padding` may stand."""
    stream: _Decompressor | None = None
    for stored in _stored_blocks(file):
        rest = stored
        while True:
            if stream is None:
                rest = rest.lstrip(padding) if padding else rest
                if not rest:
                    break
                stream = begin()
            if plain := stream.decompress(rest, BLOCK_BYTES):
                yield plain
            if stream.eof:
                rest, stream = stream.unused_data or b"", None
            elif stream.needs_input:
                break
            else:
                rest = b""
    if stream is not None:
        raise EOFError("the last stream is cut off")


def _zstd_blocks(file: ReadFile, *, most_window_bytes: int = 0) -> Iterator[bytes]:
    frame: zstandard.ZstdDecompressionObj | None = None
    for piece in zstd_pieces(_stored_blocks(file)):
        if frame is None or frame.eof:
            frame = zstandard.ZstdDecompressor(max_window_size=most_window_bytes).decompressobj()
        if plain := frame.decompress(piece):
            yield plain
    if frame is not None and not frame.eof:
        raise EOFError("the last zstd frame is cut off")


def _stored_blocks(file: ReadFile) -> Iterator[bytes]:
    at = 0
    while data := file.pread(READ_BYTES, at):
        at += len(data)
        yield data


_UNPACK: Final[dict[str, Callable[[ReadFile], Iterator[bytes]]]] = {
    "gz": _gzip_blocks,
    "bz2": partial(_stream_blocks, bz2.BZ2Decompressor, b""),
    "lz4": partial(_stream_blocks, lz4.frame.LZ4FrameDecompressor, b""),
    "xz": partial(_stream_blocks, partial(lzma.LZMADecompressor, lzma.FORMAT_XZ), b"\0"),
    "zst": _zstd_blocks,
}
