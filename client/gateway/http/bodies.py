"""Reads the bodies of requests, within a limit of bytes and of time, and writes those of answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_VALUE_BYTES

__all__ = [
    "JSON_TYPE", "json_answer", "json_line", "json_object", "read_body", "reading_body", "value_of_body",
]  # fmt: skip

JSON_TYPE: Final = "application/json"
_encoded: Final = json.JSONEncoder(ensure_ascii=False).encode
BODY_S: Final = 30.0
"""For how long a caller may take to send a body, in seconds."""


async def read_body(call: HttpCall, most_bytes: int, what: str) -> bytes:
    """The whole body.  Raises HttpRefusal 413 above the limit, 408 when it does not come in time, 415 when it
    is compressed."""
    parts: list[bytes] = []
    size = 0
    request = call.request
    length = request.content_length
    if length is not None and length > most_bytes:
        raise _too_large(what, length, most_bytes)
    async with reading_body(call):
        async for part in request.content.iter_any():
            size += len(part)
            if size > most_bytes:
                raise _too_large(what, size, most_bytes)
            parts.append(part)
    return b"".join(parts)


@asynccontextmanager
async def reading_body(call: HttpCall, within_s: float | None = None) -> AsyncIterator[None]:
    """The body is read in this block.  Raises HttpRefusal 408 when that takes longer than `within_s` seconds,
    30 unless it is given, 415 for a body that is compressed, 400 for one that breaks off, 503 when too many
    are on their way."""
    request, within_s = call.request, within_s or BODY_S
    coding = request.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise HttpRefusal(
            415, "UNSUPPORTED_CODING", f"Content-Encoding is {coding[:40]!r}: send the body as it is"
        )
    has_come = request.content.is_eof()  # with the head, as short ones do: neither room nor timer is needed
    try:
        with nullcontext() if has_come else call.slot.while_a_body_comes():
            if request.headers.get("Expect", "").lower() == "100-continue":
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0  # it is not part of the answer
            async with asyncio.timeout(None if has_come else within_s):
                yield
    except TimeoutError:
        raise HttpRefusal(
            408, "BODY_TOO_SLOW", f"the body did not come within {within_s:g} s",
            headers={"Connection": "close"},
        ) from None  # fmt: skip
    except (HttpProcessingError, web.RequestPayloadError) as error:
        raise HttpRefusal(400, "BROKEN_BODY", f"the body cannot be read: {error}") from error


async def value_of_body(call: HttpCall) -> bytes:
    """The body as a value, within the limit of values.  Raises HttpRefusal."""
    if call.body is None:
        call.body = await read_body(call, MAX_VALUE_BYTES, "the value")
    return call.body


async def json_object(call: HttpCall, most_bytes: int, known: frozenset[str]) -> dict[str, Any]:
    """The body as a JSON object with no other members than those.  Raises HttpRefusal; InvalidArgument."""
    kind = call.request.headers.get("Content-Type", JSON_TYPE).partition(";")[0].strip().lower()
    if kind != JSON_TYPE:
        raise HttpRefusal(415, "UNSUPPORTED_TYPE", f"Content-Type is {kind[:40]!r}; send {JSON_TYPE}")
    body = await read_body(call, most_bytes, "the body")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"the body is not JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise InvalidArgument("the body is not a JSON object")
    unknown = sorted(set(document) - known)
    if unknown:
        raise InvalidArgument(
            f"the body has a member {unknown[0][:40]!r}, which means nothing here",
            hint=f"there are: {', '.join(sorted(known))}",
        )
    return document


def json_answer(
    document: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """One document."""
    return web.Response(status=status, body=json_line(document), content_type=JSON_TYPE, headers=headers)


def json_line(document: object) -> bytes:
    """A document on one line, with its line end."""
    return _encoded(document).encode("utf-8", "backslashreplace") + b"\n"


def _too_large(what: str, size: int, limit: int) -> HttpRefusal:
    return HttpRefusal(
        413, "TOO_LARGE", f"{what} has {size} bytes or more, the limit is {limit}",
        headers={"Connection": "close"}, detail={"limit": limit},
    )  # fmt: skip
