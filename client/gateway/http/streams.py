"""Answers that go on: lines of JSON, and Server-Sent Events.  A caller that does not take them is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final, TypeVar

from aiohttp import web

from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.connection_guard import ANSWER_S
from ringmill.cluster.errors import CorruptData

__all__ = ["BEAT_S", "EVENTS_TYPE", "HAS_BEGUN", "LINES_TYPE", "OpenStream", "event_text", "with_beats"]

LINES_TYPE: Final = "application/x-ndjson"
EVENTS_TYPE: Final = "text/event-stream"
BEAT_S: Final = 15.0
"""Between two signs of life of a stream that has nothing to tell, in seconds."""
HAS_BEGUN: Final = web.RequestKey("has_begun", bool)
"""Is in a request of which an answer has begun: no other one can be told."""
T = TypeVar("T")


class OpenStream:
    """One answer, written piece by piece.  Once it has begun, an error ends the connection amid it."""

    def __init__(self, call: HttpCall, content_type: str, length: int | None = None) -> None:
        """`length` is the number of bytes, if it is known."""
        self._call = call
        self._length = length
        self._written = 0
        self._answer = web.StreamResponse(
            headers={
                **call.common,
                "Content-Type": content_type,
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
                "Server": "ringmill",
            }
        )
        self._answer.content_length = length

    async def begin(self) -> bool:
        """Send the head.  False for HEAD: nothing else is to be written."""
        self._call.request[HAS_BEGUN] = True
        await self._answer.prepare(self._call.request)
        return self._has_body

    @property
    def _has_body(self) -> bool:
        return self._call.request.method != "HEAD"

    async def write(self, data: bytes) -> None:
        """Raises ConnectionResetError when the caller is gone, or has not taken it in time."""
        if not self._has_body:
            return
        self._written += len(data)
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._answer.write(data)
        except TimeoutError:
            if self._call.request.transport is not None:
                self._call.request.transport.abort()
            raise ConnectionResetError("the caller does not take its answer") from None

    async def end(self) -> web.StreamResponse:
        """The whole answer.  Raises CorruptData when it is not as long as was told."""
        if self._has_body and self._length not in (None, self._written):
            raise CorruptData(f"{self._written} bytes came, and {self._length} were told")
        await self._answer.write_eof()
        return self._answer


def event_text(name: str, document: object, id: str = "") -> bytes:
    """One Server-Sent Event; `id` is what comes back as Last-Event-ID."""
    text = json.dumps(document, ensure_ascii=False)  # JSON has no line ends but those of Unicode
    text = text.replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")
    head = f"id: {id}\n" if id else ""
    return f"{head}event: {name}\ndata: {text}\n\n".encode("utf-8", "backslashreplace")


async def with_beats(
    items: AsyncIterator[T], beat_s: float, ending: asyncio.Event, *, first_s: float | None = None
) -> AsyncIterator[T | None]:
    """The items as they come, and None whenever none has come for `beat_s` seconds, at first for `first_s`.

    It is over when `ending` is set.  Leaving it ends the wait for the next item.
    """
    over = asyncio.ensure_future(ending.wait())
    following = asyncio.ensure_future(anext(items))
    wait_s = beat_s if first_s is None else first_s
    try:
        while True:
            await asyncio.wait({following, over}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            wait_s = beat_s
            if over.done():
                return
            if not following.done():
                yield None
                continue
            try:
                item = following.result()
            except StopAsyncIteration:
                return
            yield item
            following = asyncio.ensure_future(anext(items))
    finally:
        for task in (over, following):
            task.cancel()
        await asyncio.gather(over, following, return_exceptions=True)
