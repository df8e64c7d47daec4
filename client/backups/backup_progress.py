"""How far a backup or a restore is, and how fast it may go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["BackupProgress", "BytePace"]


@dataclass(slots=True)
class BackupProgress:
    """Counts of tables and bytes; `on_step` is called after each change."""

    on_step: Callable[[BackupProgress], None] = lambda _: None
    tables: int = 0  # in all
    total_bytes: int = 0
    done_bytes: int = 0  # of tables that are there, copied or not
    copied_tables: int = 0
    copied_bytes: int = 0
    partitions: int = 0  # of the backup that is restored, and the one that it is at
    partition: int = 0
    objects: int = 0  # brought to the owners
    registers: int = 0
    untold: tuple[str, ...] = ()  # nodes that cannot tell whether they keep a former copy

    def step(self) -> None:
        self.on_step(self)


class BytePace:
    """Lets `bytes_per_s` pass, or all when it is 0."""

    def __init__(self, bytes_per_s: float = 0.0) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0  # on the clock of the loop

    async def spend(self, size: int) -> None:
        """Return once this number of bytes more may pass."""
        if not self._bytes_per_s:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now) + size / self._bytes_per_s
        await asyncio.sleep(self._free_at - now)
