"""What can be read of a log or a manifest in which the disk cannot read some sectors.

Both are read record by record, and what lies behind a damage is found again (node/storage/log/framing.py), so
a bad sector costs the records that it is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.storage_errors import UnreadableBlock, damage_at

__all__ = ["Readable", "read_parts"]

_STEP_BYTES: Final = 4096  # most file systems and disks read no less


@dataclass(frozen=True, slots=True)
class Readable:
    """A file's bytes, with zeros in place of those that cannot be read."""

    data: bytes
    is_whole: bool = True


def read_parts(files: FileSystem, path: str, *, reads_around: bool) -> Readable:
    """Read a file; what the disk cannot read of it is UnreadableBlock, or is left out with `reads_around`.

    Blocks.  Raises OSError.
    """
    try:
        with damage_at(path, 0):
            return Readable(files.read_bytes(path))
    except UnreadableBlock:
        if not reads_around:
            raise
    return Readable(_around(files, path), is_whole=False)


def _around(files: FileSystem, path: str) -> bytes:
    file = files.open_read(path)
    parts: list[bytes] = []
    try:
        for offset in range(0, file.size, _STEP_BYTES):
            size = min(_STEP_BYTES, file.size - offset)
            try:
                with damage_at(path, offset):
                    parts.append(file.pread(size, offset))
            except UnreadableBlock:
                parts.append(bytes(size))
    finally:
        file.close()
    return b"".join(parts)
