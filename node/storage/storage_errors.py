"""The errors of the engine, besides the OSError of the FileSystem door.

All but NotCached are errors of the one tree (cluster/errors.py), so that they cross to clients as
themselves.
"""

from __future__ import annotations

from types import TracebackType

from ringmill.cluster.errors import CorruptData, DiskFull, ProtocolMismatch, Unavailable
from ringmill.cluster.os_errors import Meaning, is_full, meaning_of

__all__ = [
    "CorruptBlock",
    "CorruptRange",
    "NewerFormat",
    "NotCached",
    "StorageFailed",
    "UnreadableBlock",
    "damage_at",
    "write_failed",
]


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
        return type(self), (self.file, self.offset, self.why)


class UnreadableBlock(CorruptBlock):
    """The disk does not give the bytes.  That may pass, so it is not a loss before rule E10 says so."""


class NewerFormat(ProtocolMismatch):
    """A whole part of a file has a version or kind that this release does not know.  That is not damage, but
    the work of a later release (rule E7)."""

    def __init__(self, file: str, what: str) -> None:
        super().__init__(
            f"{file} was written by a newer release: {what}",
            detail={"file": file, "what": what},
            hint="start that release again; this one has changed nothing in the store",
        )
        self.file = file
        self.what = what

    def __reduce__(self) -> tuple[type[NewerFormat], tuple[str, str]]:
        return type(self), (self.file, self.what)


class damage_at:  # noqa: N801  (a context manager read as a phrase)
    """A read in this block that the disk fails is damage of `file` at `offset`.

    Raises UnreadableBlock; an OSError of another meaning stays as it is.
    """

    __slots__ = ("_file", "_offset")

    def __init__(self, file: str, offset: int) -> None:
        self._file = file
        self._offset = offset

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and meaning_of(error) is Meaning.BROKEN:
            why = f"it cannot be read: {error.strerror or error}"
            raise UnreadableBlock(self._file, self._offset, why) from error


class CorruptRange(CorruptData):
    """The key is in a range whose newest values may be lost; it is unreadable until the range is healed."""


class StorageFailed(Unavailable):
    """A write or sync of a log or the manifest failed: nothing is acknowledged any more until a restart."""


def write_failed(
    error: OSError, what_stands: str = "", *, is_final: bool = False, **detail: int
) -> DiskFull | StorageFailed:
    """The error for all who wait for a write that met `error`; `what_stands` says what is safe
    nevertheless.  `is_final`: nothing is written any more, also on a disk that is only full."""
    kind: type[DiskFull | StorageFailed] = StorageFailed
    if not is_full(error):
        hint = "repair the disk and restart the node"
    elif is_final:
        hint = "free some space and restart the node"
    else:
        kind, hint = DiskFull, "free some space; writing goes on by itself"
    return kind(
        f"writing {error.filename} failed: {error.strerror}{what_stands}",
        detail={"file": str(error.filename), "errno": error.errno, **detail},
        hint=hint,
        outcome="unknown",
    )


class NotCached(Exception):
    """Not a failure: the value must be read from the disk, so use `await engine.get(key)`."""
