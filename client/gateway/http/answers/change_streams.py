"""Watches: the changes of a key, or of all keys of a prefix, as Server-Sent Events or over a WebSocket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, cast

from aiohttp import WSMsgType, web

from ringmill.client.gateway.http.bodies import json_line
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.etags import MOST_ETAG
from ringmill.client.gateway.http.problems import HttpRefusal, http_refusal_of, problem_document
from ringmill.client.gateway.http.streams import (
    BEAT_S,
    EVENTS_TYPE,
    HAS_BEGUN,
    OpenStream,
    event_text,
    with_beats,
)
from ringmill.client.kv import watch_of_prefix
from ringmill.client.values import KeyChange, PrefixChange
from ringmill.cluster.errors import InvalidArgument, RingmillError, Unavailable

__all__ = ["is_watch", "key_changes", "prefix_changes"]

FIRST_S: Final = 1.0
"""For how long a watch waits for its first change before it says that it is open: until then an error is
told by the status."""
_LAST_EVENT_ID: Final = "Last-Event-ID"
_MOST_MESSAGE: Final = 1024
_CLOSED_S: Final = 2.0
"""For a caller to answer that its WebSocket is closed."""

logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)  # its warnings are texts of callers


def is_watch(call: HttpCall, others: tuple[str, ...]) -> bool:
    """Whether the caller wants changes: it accepts events no less than the other forms that there are, or
    opens a WebSocket."""
    return _is_socket(call) or call.prefers(EVENTS_TYPE, others)


def _is_socket(call: HttpCall) -> bool:
    return call.request.method == "GET" and call.request.headers.get("Upgrade", "").lower() == "websocket"


async def key_changes(call: HttpCall) -> web.StreamResponse:
    """What the key holds now, unless it is what the last event told, and each change from then on."""
    _refuse(call, "from_now", "sibling")
    changes = call.space.watch(call.key, after=_after(call), **call.options("r"))
    return await _stream_changes(call, changes, [])


async def prefix_changes(call: HttpCall) -> web.StreamResponse:
    """What the keys that begin with the prefix hold now, and each change from then on."""
    _refuse(call, "start", "end", "limit", "keys_only", "cursor", "timeout")
    goes_on = _LAST_EVENT_ID in call.request.headers  # an EventSource repeats the path of its beginning
    options = call.options("r") if goes_on else call.options("r", "from_now")
    opened: list[str] = []
    changes = watch_of_prefix(call.space, call.prefix, opened.append, after=_after(call), **options)
    return await _stream_changes(call, changes, opened)


def _after(call: HttpCall) -> str | None:
    """Where the caller goes on: `after`, or the header by which a browser's EventSource connects again."""
    after: str | None = call.query.get("after")
    return call.request.headers.get(_LAST_EVENT_ID, after) or None


def _refuse(call: HttpCall, *names: str) -> None:
    for name in names:
        if name in call.query:
            raise InvalidArgument(f"{name} means nothing to a watch")


async def _stream_changes(
    call: HttpCall, changes: AsyncIterator[KeyChange], opened: list[str]
) -> web.StreamResponse:
    async with aclosing(cast("AsyncGenerator[KeyChange, None]", changes)) as found:
        if _is_socket(call):
            return await _over_socket(call, found)
        return await _as_events(call, found, opened)


async def _as_events(
    call: HttpCall, changes: AsyncIterator[KeyChange], opened: list[str]
) -> web.StreamResponse:
    """`opened` gets the id from which one goes on that has seen no event, if there is one."""
    call.slot.becomes_a_stream()
    stream = OpenStream(call, EVENTS_TYPE)
    is_open = False
    beats = with_beats(changes, BEAT_S, call.ending, first_s=FIRST_S)
    async with aclosing(cast("AsyncGenerator[KeyChange | None, None]", beats)) as beating:
        try:
            async for change in beating:
                if not is_open:
                    is_open = True
                    if not await stream.begin():
                        break
                if opened:
                    await stream.write(_id_alone(opened.pop()))
                await stream.write(b": nothing new\n\n" if change is None else _event(change))
        except RingmillError as error:
            if not is_open:
                raise
            refusal = http_refusal_of(error, has_token=call.has_token)
            await stream.write(event_text("error", problem_document(refusal)))
    if not is_open:
        raise Unavailable("the gateway is stopping")
    return await stream.end()


def _event(change: KeyChange) -> bytes:
    place = change.cursor if isinstance(change, PrefixChange) else change.context.text
    name = "deleted" if change.is_deleted else "change"
    return event_text(name, change.to_dict(), place if _comes_back(place) else "")


def _id_alone(place: str) -> bytes:
    """Sets the id of an EventSource, and is not an event."""
    return f"id: {place}\n\n".encode() if _comes_back(place) else b""


def _comes_back(place: str) -> bool:
    """Whether it fits into a request's header.

    If not, the id of an earlier event comes back, and some changes are told again.
    """
    return len(place) <= MOST_ETAG


def _refuse_no_handshake(request: web.BaseRequest, socket: web.WebSocketResponse) -> None:
    """Raises HttpRefusal."""
    if not socket.can_prepare(request).ok:
        raise HttpRefusal(
            400, "BAD_HANDSHAKE", "this is not a handshake of a WebSocket of version 13",
            hint="a proxy has to pass on Connection: Upgrade", headers={"Sec-WebSocket-Version": "13"},
        )  # fmt: skip


async def _over_socket(call: HttpCall, changes: AsyncIterator[KeyChange]) -> web.StreamResponse:
    """A text message for each change.  What the caller sends, other than to end it, ends it as an error."""
    call.slot.becomes_a_stream()
    socket = web.WebSocketResponse(heartbeat=BEAT_S, max_msg_size=_MOST_MESSAGE, timeout=_CLOSED_S)
    _refuse_no_handshake(call.request, socket)
    await socket.prepare(call.request)
    call.request[HAS_BEGUN] = True
    hearing = asyncio.ensure_future(socket.receive())
    beats = with_beats(changes, BEAT_S, call.ending)
    async with aclosing(cast("AsyncGenerator[KeyChange | None, None]", beats)) as beating:
        following = asyncio.ensure_future(anext(beating))
        try:
            while not hearing.done():
                await asyncio.wait({hearing, following}, return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    break
                change = following.result()
                if change is not None:
                    await socket.send_str(json_line(change.to_dict()).decode().rstrip())
                following = asyncio.ensure_future(anext(beating))
            if hearing.done() and hearing.result().type in (WSMsgType.TEXT, WSMsgType.BINARY):
                await socket.close(code=1003, message=b"a watch takes no messages")
        except StopAsyncIteration:
            await socket.close(code=1001, message=b"the gateway is stopping")
        except RingmillError as error:
            problem = problem_document(http_refusal_of(error, has_token=call.has_token))
            await socket.send_str(json_line({"error": problem}).decode().rstrip())
            await socket.close(code=1011, message=error.code.encode())
        finally:
            for task in (hearing, following):
                task.cancel()
            await asyncio.gather(hearing, following, return_exceptions=True)
    return socket
