"""The errors of the engine, besides the OSError of the FileSystem door.

All but NotCached are errors of the one tree (cluster/errors.py), so that they cross to clients as
themselves.
"""

from __future__ import annotations

from ringmill.cluster.errors import CorruptData, DiskFull, Unavailable
from ringmill.cluster.os_errors import is_full

__all__ = ["CorruptBlock", "CorruptRange", "NotCached", "StorageFailed", "write_failed"]


class CorruptBlock(CorruptData):
    """Bytes of one file do not match their checksum or their format; `file` and `offset` say where."""

    def __init__(self, file: str, offset: int, why: str) -> None:
        super().__init__(
            f"{file} at byte {offset}: {why}",
            detail={"file": file, "offset": offset, "why": why},
            hint="it is healed from the other owners while the node serves; "
            "`ringmill engine verify` lists all damage",
        )
        self.file = file
        self.offset = offset
        self.why = why

    def __reduce__(self) -> tuple[type[CorruptBlock], tuple[str, int, str]]:
        return CorruptBlock, (self.file, self.offset, self.why)


class CorruptRange(CorruptData):
    """The key is in a range whose newest values may be lost; it is unreadable until the range is healed."""


class StorageFailed(Unavailable):
    """A write or sync of a log or the manifest failed: nothing is acknowledged any more until a restart."""


def write_failed(error: OSError, what_stands: str = "", **detail: int) -> DiskFull | StorageFailed:
    """The error for all who wait for a write that met `error`; `what_stands` says what is safe
    nevertheless."""
    kind, hint = (
        (DiskFull, "free some space; writing goes on by itself")
        if is_full(error)
        else (StorageFailed, "repair the disk and restart the node")
    )
    return kind(
        f"writing {error.filename} failed: {error.strerror}{what_stands}",
        detail={"file": str(error.filename), "errno": error.errno, **detail},
        hint=hint,
        outcome="unknown",
    )


class NotCached(Exception):
    """Not a failure: the value must be read from the disk, so use `await engine.get(key)`."""
