"""Scans as lines of JSON, and the bounds of keys that scans and watches share."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ringmill.client.gateway.http.answers.change_streams import is_watch, prefix_changes
from ringmill.client.gateway.http.bodies import json_line
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.problems import http_refusal_of, problem_document
from ringmill.client.gateway.http.streams import LINES_TYPE, OpenStream
from ringmill.client.scans.async_scan import AsyncScan
from ringmill.client.values import Item, json_bytes
from ringmill.cluster.errors import RingmillError

__all__ = ["scan_keys"]


async def scan_keys(call: HttpCall) -> web.StreamResponse:
    """A line of JSON for each key with a value: the document of a read, or the key alone with `keys_only`.

    The order is that of the partitions, and within each that of the keys.  The last line has `end`, the
    number of `keys`, and the `cursor` that goes on when `limit` ended the scan.  A scan that fails on its way
    ends with a line that has `error` and a cursor: it goes on without a gap, and may repeat some keys.

    With Accept: text/event-stream, or as a WebSocket, it is a watch: an event for each key of the prefix as
    it is now, unless `from_now`, and for each change from then on.  The id of an event goes on
    (Last-Event-ID).
    """
    if is_watch(call, (LINES_TYPE,)):
        return await prefix_changes(call)
    keys_only = call.query.get("keys_only", False)
    wanted = call.options("start", "end", "limit", "keys_only", "cursor", "r", "timeout")
    scanning = call.space.scan(prefix=call.prefix, **wanted)
    page = await scanning.page()  # what it raises is still told by the status
    call.slot.becomes_a_stream()
    stream = OpenStream(call, LINES_TYPE)
    if not await stream.begin():
        return await stream.end()
    keys = 0
    while page:
        keys += len(page)
        await stream.write(b"".join(json_line(_document(*each, keys_only=keys_only)) for each in page))
        try:
            page = await scanning.page()
        except RingmillError as error:
            await stream.write(json_line(_failed(error, scanning, has_token=call.has_token)))
            return await stream.end()
    await stream.write(json_line({"end": True, "keys": keys, "cursor": scanning.cursor or None}))
    return await stream.end()


def _failed(error: RingmillError, scanning: AsyncScan, *, has_token: bool) -> dict[str, Any]:
    problem = problem_document(http_refusal_of(error, has_token=has_token))
    return {"end": False, "error": problem, "cursor": scanning.cursor or None}


def _document(key: bytes, item: Item, *, keys_only: bool) -> dict[str, object]:
    if keys_only:
        return {**json_bytes("key", key)}
    found = item.to_dict()
    del found["answered"], found["repaired"]  # of a single read
    return {**json_bytes("key", key), **found}
