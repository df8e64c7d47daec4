"""Watches free space: below the reserve the store is read-only, above it writable again, automatically.

The reserve has space for one compaction and the logs, and `reserve_bytes` that only control state may use.  A
file system may also have no inode left for a new file, however many bytes are free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

from ringmill.cluster.beats import next_beat
from ringmill.cluster.errors import DiskFull
from ringmill.cluster.ports import FileSystem
from ringmill.cluster.sometimes import sometimes
from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.version.version import Version

__all__ = ["NeededSpace", "SpaceWatch", "needed_space"]

_POLL_S: Final = 0.5
FEWEST_FILES: Final = 64  # that can still be made: logs, tables, and the copies of control state
_PLENTY: Final = 4  # times what is needed: then half the looks are enough


@dataclass(frozen=True, slots=True)
class NeededSpace:
    """Free bytes below which ordinary writes are refused, by purpose."""

    control_bytes: int
    log_bytes: int
    merge_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.control_bytes + self.log_bytes + self.merge_bytes


def needed_space(version: Version, options: EngineOptions) -> NeededSpace:
    """The needed space: more data needs more of it for a compaction, up to the largest possible one."""
    largest_merge = min(
        sum(meta.size for meta in version.tables()),
        options.level0_tables * options.memtable_bytes + options.level1_bytes,
    )
    return NeededSpace(options.reserve_bytes, 2 * options.memtable_bytes, largest_merge)


class SpaceWatch:
    """`refusal` is the error of an ordinary write; None while there is space.  `free_bytes` were free at the
    last look; None when the system could not tell.
    """

    def __init__(
        self, folder: str, options: EngineOptions, files: FileSystem, version: Callable[[], Version]
    ) -> None:
        self._folder = folder
        self._options = options
        self._files = files
        self._version = version
        self.refusal: DiskFull | None = None
        self.free_bytes: int | None = None
        self._has_plenty = False

    def check(self) -> None:
        """Look now.  Raises nothing: if the system cannot tell, the next look will."""
        needed = needed_space(self._version(), self._options)
        self.free_bytes = None
        try:
            self.free_bytes = free = self._files.free_space(self._folder)
            free_files = self._files.free_files(self._folder)
        except OSError:
            return
        self._has_plenty = free >= _PLENTY * needed.total_bytes
        if free_files < FEWEST_FILES:
            self.refusal = DiskFull(
                f"{free_files} more files can be made where {self._folder} lies, {FEWEST_FILES} are needed: "
                f"read-only",
                detail={"free_files": free_files, "needed_files": FEWEST_FILES},
                hint="remove files there, as its inodes are running out; writing goes on by itself",
            )
        elif free >= needed.total_bytes:
            self.refusal = None
        else:
            total = needed.total_bytes
            sometimes("a full disk makes a node read-only")
            self.refusal = DiskFull(
                f"{free} bytes are free where {self._folder} lies, {total} are needed: read-only",
                detail={"free": free, "needed": total, **asdict(needed)},
                hint=f"free {total - free} bytes; writing goes on by itself",
            )

    def refusal_of_merge(self, input_bytes: int) -> DiskFull | None:
        """Why tables of this size cannot be merged now without the space for logs and control state.

        None: they can be (rule E12).
        """
        total = self._kept_bytes + input_bytes
        free = self._files.free_space(self._folder)
        if free >= total:
            return None
        return DiskFull(
            f"{free} bytes are free where {self._folder} lies, {total} are needed to merge tables",
            detail={"free": free, "needed": total},
            hint=f"free {total - free} bytes; it is tried again by itself",
        )

    def rooms_for_merges(self) -> tuple[int, int]:
        """The most bytes of a merge's input beside the space for logs and control state, and without it while
        space is short.  Raises OSError."""
        free = self._files.free_space(self._folder)
        return free - self._kept_bytes, free if self.refusal is not None else -1

    @property
    def _kept_bytes(self) -> int:
        """The space for logs and control state."""
        return self._options.reserve_bytes + 2 * self._options.memtable_bytes

    async def run(self, on_look: Callable[[], None]) -> None:
        """Look twice a second until cancelled, once while there is plenty; calls `on_look` after each
        look."""
        while True:
            await next_beat(2 * _POLL_S if self._has_plenty else _POLL_S)
            self.check()
            on_look()
