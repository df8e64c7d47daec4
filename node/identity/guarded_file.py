"""A small file that survives a flipped bit: its content is written three times, each with a checksum.

It is replaced as a whole: written beside, synced, renamed, its folder synced.  What the disk cannot read of
it counts as damaged, once it cannot be read some seconds later either (rule E10: docs/protocol/engine.md).
Layout: docs/formats/control.md.
"""

from __future__ import annotations

import asyncio
import logging
import posixpath
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Final
from zlib import crc32

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.log.readable_parts import read_parts

__all__ = ["COPIES", "decode_copies", "encode_copies", "read_around", "replace_file", "wait_readable"]

_log = logging.getLogger(__name__)

COPIES: Final = 3
READ_AGAIN_S: Final = (1.0, 4.0)
_MAGIC: Final = b"RMCOPY1\n"
_HEAD: Final = struct.Struct(">8sII")  # magic, length of the content, checksum of the content


def encode_copies(content: bytes) -> bytes:
    return (_HEAD.pack(_MAGIC, len(content), crc32(content)) + content) * COPIES


def decode_copies(data: bytes) -> bytes:
    """The content of the first sound copy.  Raises CorruptData when no copy is sound."""
    size = len(data) // COPIES
    for number in range(COPIES):
        copy = data[number * size : (number + 1) * size]
        content = copy[_HEAD.size :]
        if copy[: _HEAD.size] == _HEAD.pack(_MAGIC, len(content), crc32(content)):
            return content
    raise CorruptData(f"none of {COPIES} copies in a file of {len(data)} bytes is sound")


def read_around(files: FileSystem, path: str) -> bytes:
    """A file's bytes, with zeros in place of those that the disk cannot read.  Raises OSError."""
    return read_parts(files, path, reads_around=True).data


async def wait_readable(files: FileSystem, paths: Iterable[str]) -> None:
    """Give what the disk cannot read of files some seconds, as the error may pass (E10).  Raises OSError."""
    left = _unreadable(files, paths)
    for pause_s in READ_AGAIN_S if left else ():
        _log.warning("a file of the data folder is read again in %g s: %s", pause_s, ", ".join(left))
        await asyncio.sleep(pause_s)
        if not (left := _unreadable(files, left)):
            return


def _unreadable(files: FileSystem, paths: Iterable[str]) -> list[str]:
    there = [path for path in paths if files.exists(path)]
    return [path for path in there if not read_parts(files, path, reads_around=True).is_whole]


async def replace_file(files: FileSystem, path: str, data: bytes) -> None:
    """Replace a file atomically and durably.  Raises OSError.

    Off the loop, all of it: a rename, too, may wait for the journal of the file system.  Who is cancelled
    goes once it is over, as a late rename would take the file of the next replacement.
    """
    replacing = asyncio.ensure_future(files.off_loop(_replace, files, path, data))
    try:
        await asyncio.shield(replacing)
    except asyncio.CancelledError:
        while not replacing.done():
            with suppress(asyncio.CancelledError):  # however often
                await asyncio.wait([replacing])
        replacing.exception()  # nobody waits for it
        raise


def _replace(files: FileSystem, path: str, data: bytes) -> None:
    beside = path + ".new"
    if files.exists(beside):  # left by a crash
        files.unlink(beside)
    file = files.create(beside)
    try:
        file.append(data)
        file.sync()
    finally:
        file.close()
    files.rename(beside, path)
    files.fsync_dir(posixpath.dirname(path))
