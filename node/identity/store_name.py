"""Checks that a store belongs to its data folder and is the one that the node left.

The file `STORE` among the engine's files names the disk.  IDENTITY records the number of the store's manifest
at each start, and the names and sizes of its logs and manifest at a clean stop.  So a store that was emptied,
replaced or restored while IDENTITY was kept is recognised as lost, and never answers "absent".  Only names
and sizes are compared: flipped bits are damage, which is fenced and healed.

Rule I6: docs/protocol/identity.md.  Layout: docs/formats/identity.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ringmill.cluster.ids import DiskId
from ringmill.cluster.ports import FileSystem
from ringmill.node.identity.guarded_file import read_around, replace_file
from ringmill.node.identity.identity_record import IdentityRecord
from ringmill.node.storage.names import CURRENT, parse_name

__all__ = ["FILE_NAME", "left_files", "missing_from_store", "name_store", "newest_manifest"]

FILE_NAME: Final = "STORE"
_COPIES: Final = 4


def missing_from_store(files: FileSystem, store: str, record: IdentityRecord) -> str:
    """Why the store is not the one that the identity knows; "" when it is.  Raises OSError."""
    if record.store is None:
        return ""
    return _wrong_name(files, store, record.disk) or _too_old(files, store, record.store, record.left)


def _wrong_name(files: FileSystem, store: str, disk: DiskId) -> str:
    """Why the name in the store is wrong; damaged copies are ignored, because the start rewrites them."""
    if not files.exists(f"{store}/{FILE_NAME}"):
        return f"the file {FILE_NAME} is missing"
    names = {name for name in read_around(files, f"{store}/{FILE_NAME}").split() if _is_a_name(name)}
    return f"it belongs to disk {min(names).decode()}" if names and disk.encode() not in names else ""


def _too_old(files: FileSystem, store: str, manifest: int, left: Iterable[tuple[str, int]]) -> str:
    newest = newest_manifest(files, store)
    if newest < manifest:
        return f"its newest manifest has number {newest}, the last start has made {manifest}"
    for name, size_bytes in left:
        found = files.size(f"{store}/{name}") if files.exists(f"{store}/{name}") else 0
        if found < size_bytes:
            return f"{name} has {found} bytes, the last stop left {size_bytes}"
    return ""


def newest_manifest(files: FileSystem, store: str) -> int:
    """The number of the newest manifest, 0 when there is none.

    Each opening creates and syncs a higher one.
    """
    parsed = [found for name in files.list(store) if (found := parse_name(name))]
    return max((found.file_id for found in parsed if found.kind == "manifest"), default=0)


async def name_store(files: FileSystem, store: str, disk: DiskId) -> None:
    """Write the name of the disk into the store, several times over.  Raises OSError."""
    content = b"%s\n" % disk.encode() * _COPIES
    path = f"{store}/{FILE_NAME}"
    if files.exists(path) and read_around(files, path) == content:
        return
    await replace_file(files, path, content)


def left_files(files: FileSystem, store: str) -> tuple[tuple[str, int], ...]:
    """Names and sizes of the files that a clean stop leaves and only the next start changes."""
    names = [name for name in files.list(store) if name == CURRENT or _is_log_or_manifest(name)]
    return tuple((name, files.size(f"{store}/{name}")) for name in names)


def _is_log_or_manifest(name: str) -> bool:
    parsed = parse_name(name)
    return parsed is not None and parsed.kind in ("log", "manifest")


def _is_a_name(name: bytes) -> bool:
    return len(name) == 32 and not name.strip(b"0123456789abcdef")
