"""Watching free space: below the reserve the store is read-only, above it writable again, by itself.

The reserve has room for one merge and the logs, and `reserve_bytes` that only control state may use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from cluster.errors import DiskFull
from cluster.ports import FileSystem
from node.storage.options import Options
from node.storage.version import Version

__all__ = ["SpaceWatch", "needed_space"]

_POLL_S: Final = 0.5


def needed_space(version: Version, options: Options) -> int:
    """Free bytes below which ordinary writes are refused."""
    largest_merge = min(
        sum(meta.size for meta in version.tables()),
        options.level0_tables * options.memtable_bytes + options.level1_bytes,
    )
    return options.reserve_bytes + 2 * options.memtable_bytes + largest_merge


class SpaceWatch:
    """`refusal` is what an ordinary write is told; None while there is room."""

    def __init__(
        self, folder: str, options: Options, files: FileSystem, version: Callable[[], Version]
    ) -> None:
        self._folder = folder
        self._options = options
        self._files = files
        self._version = version
        self.refusal: DiskFull | None = None

    def check(self) -> None:
        """Look now.  Raises nothing: what cannot be asked is looked at again."""
        needed = needed_space(self._version(), self._options)
        free = self._files.free_space(self._folder)
        if free >= needed:
            self.refusal = None
        else:
            self.refusal = DiskFull(
                f"{free} bytes are free where {self._folder} lies, {needed} are needed: read-only",
                detail={"free": free, "needed": needed},
                hint="free some space; writing goes on by itself",
            )

    async def run(self, on_look: Callable[[], None]) -> None:
        """Look twice a second until cancelled; `on_look` hears of each look."""
        while True:
            await asyncio.sleep(_POLL_S)
            self.check()
            on_look()
