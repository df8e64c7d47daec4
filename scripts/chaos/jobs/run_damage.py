"""Damages the output of a map where it lies for the reduces: a bit, another value, or the whole file.

A changed value stands in a chunk that is sound in itself, under a right checksum.  So only the checksum that
the map has committed tells it (rule J3, docs/protocol/jobs.md).
Layout: docs/formats/run.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, Final

import google_crc32c
import zstandard

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.mapreduce.codecs.value_codecs import pack_block, unpack_block
from ringmill.cluster.mapreduce.files.run_file import CHUNK_HEADER, END, read_index

__all__ = ["flip_bit", "is_finished", "replace_value"]

PLAIN, ZSTD = 0, 1
LEVELS: Final = (3, 9, 19)  # of zstd: a changed block has to find room where the former one was


def is_finished(path: Path) -> bool:
    """Whether a run is whole: its map may be about to end, or has ended."""
    try:
        with path.open("rb") as file:
            file.seek(-len(END), os.SEEK_END)
            return file.read() == END
    except OSError:
        return False


def flip_bit(path: Path, chance: Random) -> bool:
    """Turn one bit of what reduces read; False where there is nothing to read."""
    stretches = _stretches(path)
    if not stretches:
        return False
    offset, length = chance.choice(stretches)
    with path.open("r+b") as file:
        at = offset + chance.randrange(length)
        [byte] = os.pread(file.fileno(), 1, at)
        os.pwrite(file.fileno(), bytes([byte ^ 1 << chance.randrange(8)]), at)
    return True


def replace_value(path: Path, chance: Random) -> bool:
    """Change one value of a record; False where none can be changed in its place."""
    chunks = list(_chunks(path))
    chance.shuffle(chunks)
    for at, chunk in chunks:
        if (changed := _changed(chunk)) is not None:
            with path.open("r+b") as file:
                os.pwrite(file.fileno(), changed, at)
            return True
    return False


def _stretches(path: Path) -> list[tuple[int, int]]:
    """Offset and length of what each reduce reads, where it is anything."""
    with closing(OsFileSystem()) as files:
        return [(each.offset, each.length) for each in read_index(files, str(path)) if each.length]


def _chunks(path: Path) -> Iterator[tuple[int, bytes]]:
    """All chunks, each with its place."""
    content = path.read_bytes()
    for offset, length in _stretches(path):
        at = offset
        while at < offset + length:
            stored = CHUNK_HEADER.unpack_from(content, at)[1]
            yield at, content[at : at + CHUNK_HEADER.size + stored]
            at += CHUNK_HEADER.size + stored


def _changed(chunk: bytes) -> bytes | None:
    """A chunk of the same length with another value in it and a right checksum; None where none has room."""
    _, size, raw, records, method = CHUNK_HEADER.unpack_from(chunk)
    body = chunk[CHUNK_HEADER.size :]
    if not records or method not in (PLAIN, ZSTD):
        return None
    block = unpack_block(
        zstandard.ZstdDecompressor().decompress(body, max_output_size=raw) if method == ZSTD else body,
        use_lists=True,
    )
    values = block[2]
    for number, value in enumerate(values):
        if (other := _another(value)) is not None:
            values[number] = other
            break
    else:
        return None
    changed = pack_block(block)
    stored = _stored(changed, size, method)
    if stored is None:
        return None
    rest = CHUNK_HEADER.pack(0, size, len(changed), records, method)[4:]
    crc = google_crc32c.extend(google_crc32c.value(rest), stored)
    return bytes(crc.to_bytes(4, "little") + rest + stored)


def _stored(changed: bytes, size: int, method: int) -> bytes | None:
    if method == PLAIN:
        return changed if len(changed) == size else None
    for level in LEVELS:
        packed = zstandard.ZstdCompressor(level=level).compress(changed)
        if len(packed) <= size:
            return packed.ljust(size, b"\0")  # what follows a frame is not read
    return None


def _another(value: Any) -> Any:
    """A value of the same form and size; None for one that has no other."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ 1
    if isinstance(value, str) and value[-1:].isascii():
        return value[:-1] + ("x" if value[-1] != "x" else "y") if value else None
    if isinstance(value, bytes):
        return value[:-1] + bytes([value[-1] ^ 1]) if value else None
    if isinstance(value, list):
        for number, each in enumerate(value):
            if (other := _another(each)) is not None:
                return [*value[:number], other, *value[number + 1 :]]
    return None
