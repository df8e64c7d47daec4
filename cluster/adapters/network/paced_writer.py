"""Pacing: batches waiting operations into frames, for calls and for answers.

One write is in flight at a time, and before each frame a few turns of the event loop gather company: what
would be 64 small messages becomes one.  On one stream that is worth a factor of five (rule F2), and
costs an idle stream some 0.04 ms.  Streams of the control class do without: their messages are few, and at
rest those turns outnumbered all others of a node's loop.  What is queued is the caller's to bound: see
`is_full`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from ringmill.cluster.wire.frames import FRAME_TARGET_BYTES, OPERATION_OVERHEAD_BYTES

__all__ = ["PacedWriter"]

_GATHER_TURNS: Final = 4
_MAX_ITEMS: Final = 16_384
_MAX_BYTES: Final = 32 * 1024 * 1024

T = TypeVar("T")


class PacedWriter(Generic[T]):
    """A queue that leaves as frames.

    `encode` turns the items of one frame into bytes, as late as possible; an empty result is not sent.
    Unless it `gathers`, a frame has what was offered in one turn of the loop.
    """

    def __init__(
        self,
        encode: Callable[[list[T]], bytes],
        *,
        max_items: int = _MAX_ITEMS,
        max_bytes: int = _MAX_BYTES,
        gathers: bool = True,
    ) -> None:
        self._encode = encode
        self._turns = _GATHER_TURNS if gathers else 0
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._queue: deque[tuple[T, int]] = deque()
        self._queued_bytes = 0
        self._is_writing = False
        self._is_urgent = False
        self._filled = asyncio.Event()
        self._written = asyncio.Event()

    def offer(self, item: T, body_bytes: int) -> None:
        """Queue an item whose body has `body_bytes`; it leaves with the next frame."""
        size = body_bytes + OPERATION_OVERHEAD_BYTES
        queue = self._queue
        if not queue:
            self._filled.set()
        queue.append((item, size))
        self._queued_bytes += size

    def hurry(self) -> None:
        """What waits leaves without further company: turns of the loop are long when a node refuses."""
        self._is_urgent = True

    @property
    def is_full(self) -> bool:
        """Whoever offers should refuse, or wait for `room`."""
        return len(self._queue) >= self._max_items or self._queued_bytes >= self._max_bytes

    @property
    def depth(self) -> tuple[int, int]:
        """Items and bytes that wait."""
        return len(self._queue), self._queued_bytes

    @property
    def is_at_rest(self) -> bool:
        """Nothing waits, and nothing is being written."""
        return not self._queue and not self._is_writing

    async def room(self) -> None:
        """Return when the queue is not full."""
        while self.is_full:
            await self._written.wait()

    async def wrote(self) -> None:
        """Return when the next frame has been written."""
        await self._written.wait()

    async def flushed(self) -> None:
        """Return when nothing waits and nothing is being written."""
        while not self.is_at_rest:
            await self._written.wait()

    def clear(self) -> list[T]:
        """Take out all that waits, in order."""
        items = [item for item, _ in self._queue]
        self._queue.clear()
        self._queued_bytes = 0
        return items

    async def run(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write frames until `write` raises, or until cancelled."""
        while True:
            if not self._queue:
                self._filled.clear()
                await self._filled.wait()
            await self._gather()
            frame = self._encode(self._take())
            self._is_writing = True
            try:
                if frame:
                    await write(frame)
            finally:
                self._is_writing = False
                self._written.set()  # wakes who waits now,
                self._written.clear()  # and nobody later

    async def _gather(self) -> None:
        for _ in range(self._turns):
            if self._is_urgent or self._queued_bytes >= FRAME_TARGET_BYTES:
                break
            await asyncio.sleep(0)
        self._is_urgent = False

    def _take(self) -> list[T]:
        """The items of the next frame: up to the target size, a larger one alone."""
        if self._queued_bytes <= FRAME_TARGET_BYTES:
            return self.clear()
        items: list[T] = []
        taken_bytes = 0
        while self._queue:
            item, size = self._queue[0]
            if items and taken_bytes + size > FRAME_TARGET_BYTES:
                break
            self._queue.popleft()
            items.append(item)
            taken_bytes += size
        self._queued_bytes -= taken_bytes
        return items
