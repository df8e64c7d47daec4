"""Calls that send many messages before their one answer: each has a time, and few are under way at once.

What they have sent is kept until all is there, so whoever begins many and ends none would have any amount of
a node's memory.  A read is never cancelled, as gRPC would keep a message that comes just then: the end of its
call ends it.

Rule F3: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Self

from ringmill.cluster.errors import DeadlineExceeded, Overloaded
from ringmill.node.services.grpc_calls.timed_bodies import BODY_S

__all__ = ["TimedUploads", "TimedUpload"]

CHUNK_S: Final = BODY_S
"""As a request has."""
UPLOAD_S: Final = 120.0
"""For all of it; 16 MiB, the longest, at 1.1 Mbit/s.  Chosen, not measured."""
MOST_UPLOADS: Final = 8
SLOW_S: Final = 1.0
"""Before that an upload gives way to no other."""


class TimedUploads:
    """The uploads to one node.  One beyond the most ends the oldest, if that is slow; else it is refused."""

    def __init__(self) -> None:
        self._under_way: dict[TimedUpload, float] = {}  # since when; oldest first

    def of(self, bodies: AsyncIterator[bytes]) -> TimedUpload:
        """The messages of one call; `close` it."""
        return TimedUpload(self, bodies)

    def begin(self, upload: TimedUpload) -> None:
        """Raises Overloaded."""
        now_s = asyncio.get_running_loop().time()
        if len(self._under_way) >= MOST_UPLOADS:
            oldest, began_s = next(iter(self._under_way.items()))
            if now_s - began_s < SLOW_S:
                raise _too_many()
            del self._under_way[oldest]
            oldest.ended.set_result(None)
        self._under_way[upload] = now_s

    def end(self, upload: TimedUpload) -> None:
        self._under_way.pop(upload, None)


class TimedUpload:
    """An iterator over the messages of a call, which begins with the first read."""

    def __init__(self, uploads: TimedUploads, bodies: AsyncIterator[bytes]) -> None:
        self._uploads = uploads
        self._bodies = bodies
        self._until_s: float | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Raises DeadlineExceeded, and Overloaded when others had to have its place."""
        now_s = asyncio.get_running_loop().time()
        if self._until_s is None:
            self._uploads.begin(self)
            self._until_s = now_s + UPLOAD_S
        reading = asyncio.ensure_future(_next(self._bodies))
        left_s = max(0.0, min(CHUNK_S, self._until_s - now_s))
        try:
            await asyncio.wait((reading, self.ended), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not reading.done():
                reading.add_done_callback(_let_go)
        if not reading.done():
            raise _too_many() if self.ended.done() else _late()
        if (body := reading.result()) is None:
            raise StopAsyncIteration
        return body

    def close(self) -> None:
        self._uploads.end(self)


async def _next(bodies: AsyncIterator[bytes]) -> bytes | None:
    return await anext(bodies, None)


def _let_go(reading: asyncio.Future[bytes | None]) -> None:
    if not reading.cancelled():
        reading.exception()  # the call has ended, which is told elsewhere


def _late() -> DeadlineExceeded:
    return DeadlineExceeded(
        f"an upload has {CHUNK_S:g} s for each message and {UPLOAD_S:g} s in all", outcome="failed"
    )


def _too_many() -> Overloaded:
    return Overloaded(f"{MOST_UPLOADS} uploads are under way; that is as many as may be")
