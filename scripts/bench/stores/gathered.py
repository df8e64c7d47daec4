"""What waits to be written, and leaves as frames: one at a time, of what gathers in four turns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Generic, TypeVar

__all__ = ["Gathered"]

TURNS: Final = 4
STAMP: Final = 1  # of a frame: nobody reads it here

T = TypeVar("T")


class Gathered(Generic[T]):
    """A queue of operations or answers."""

    def __init__(self) -> None:
        self._queue: list[T] = []
        self._filled = asyncio.Event()

    def add(self, entries: Iterable[T]) -> None:
        self._queue += entries
        self._filled.set()

    async def run(
        self, encode: Callable[[list[T], int], bytes], write: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Write frames until cancelled."""
        while True:
            if not self._queue:
                self._filled.clear()
                await self._filled.wait()
            for _ in range(TURNS):
                await asyncio.sleep(0)
            entries, self._queue = self._queue, []
            await write(encode(entries, STAMP))
