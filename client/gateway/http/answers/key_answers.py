"""GET, HEAD, PUT, DELETE and POST of one key.

The ETag of an answer is the causal context of what was read.  With If-Match a write replaces what that read
returned, as `put(context=)` does: it is not a compare-and-set, so there is no 412.  What others have written
meanwhile stays beside the new value as a sibling.  Registers have a compare-and-set (register_answers.py).
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from aiohttp import web

from ringmill.client.gateway.http.answers.change_streams import is_watch, key_changes
from ringmill.client.gateway.http.bodies import JSON_TYPE, json_answer, value_of_body
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.etags import etag_of, given_etag
from ringmill.client.values import EMPTY, CausalContext, Item, Receipt, json_bytes
from ringmill.cluster.errors import InvalidArgument, NotFound, UnresolvedSiblings

__all__ = ["BYTES_TYPE", "MULTIPART_TYPE", "delete_key", "get_key", "put_key", "receipt_answer", "touch_key"]

BYTES_TYPE: Final = "application/octet-stream"
MULTIPART_TYPE: Final = "multipart/mixed"
_FORMS: Final = (BYTES_TYPE, JSON_TYPE, MULTIPART_TYPE)


async def get_key(call: HttpCall) -> web.StreamResponse:
    """One value comes as bytes, or as JSON if Accept asks for it.

    Several siblings come as JSON or multipart with status 300.  Accept: application/octet-stream is 409 then,
    unless `sibling` names one of them.  HEAD does the same without the body.

    With Accept: text/event-stream, or as a WebSocket, it is a watch: an event for what the key holds now, and
    for each change from then on.  The id of an event is the context, and goes on (Last-Event-ID).
    """
    if is_watch(call, _FORMS):
        return await key_changes(call)
    _refuse_after(call)
    form = call.chosen(_FORMS)
    key = call.key
    options = call.options("r", "timeout")
    headers = {"Vary": "Accept", "Cache-Control": "no-cache"}
    if call.cache is None:
        item = await call.space.get(key, **options)
    else:
        item, is_shared = await call.cache.read(call.space, key, options, call.slot)
        headers["Cache-Status"] = f"ringmill; {'hit' if is_shared else 'fwd=miss'}"  # RFC 9211
    headers |= etag_of(item.context)
    if _is_known(call, item):
        return web.Response(status=304, headers=headers)
    return _shown(call, key, item, form, headers)


async def put_key(call: HttpCall) -> web.StreamResponse:
    """The body is the value, as it is.

    With If-Match the write replaces what the read with that ETag returned, and nothing else: what others have
    written meanwhile stays beside it as a sibling.  It is not a compare-and-set, so there is no 412;
    registers have one.  With If-None-Match: * the write replaces nothing and adds a sibling.  Without either
    it overwrites what its coordinator knows.
    """
    value = await value_of_body(call)
    options = call.options("w", "ttl", "durability", "timeout")
    receipt = await call.space.put(call.key, value, context=_context(call), **options)
    return receipt_answer(call, receipt)


async def delete_key(call: HttpCall) -> web.StreamResponse:
    """If-Match and If-None-Match mean what they mean for PUT.  To delete what is not there is no error."""
    options = call.options("w", "durability", "timeout")
    receipt = await call.space.delete(call.key, context=_context(call), **options)
    return receipt_answer(call, receipt)


async def touch_key(call: HttpCall) -> web.StreamResponse:
    """The value is not sent again.  Without `ttl` it never expires."""
    options = call.options("w", "durability", "timeout")
    receipt = await call.space.touch(call.key, ttl=call.query.get("ttl"), **options)
    return receipt_answer(call, receipt)


def receipt_answer(call: HttpCall, receipt: Receipt) -> web.Response:
    """The receipt of a write.  It has no ETag while other siblings remain."""
    document = {**json_bytes("key", call.key), **receipt.to_dict()}
    return json_answer(document, headers=etag_of(receipt.context))


def _shown(call: HttpCall, key: bytes, item: Item, form: str, headers: dict[str, str]) -> web.Response:
    """The item in the form that the caller accepts.  Raises UnresolvedSiblings, NotFound."""
    sibling = call.query.get("sibling")
    if sibling is not None:
        return web.Response(body=_sibling(item, sibling), content_type=BYTES_TYPE, headers=headers)
    status = 300 if item.conflict else 200
    if form == MULTIPART_TYPE:
        return _multipart(item, status, headers)
    if form == BYTES_TYPE and not item.conflict:
        return web.Response(body=item.newest, content_type=BYTES_TYPE, headers=headers)
    if form == BYTES_TYPE and call.accepts_explicitly(BYTES_TYPE):
        raise UnresolvedSiblings(
            f"the key holds {len(item.siblings)} siblings, but {BYTES_TYPE} is one value",
            detail={"siblings": len(item.siblings)},
            hint=f"?sibling=1 is the newest; Accept: {JSON_TYPE} or {MULTIPART_TYPE} gives all of them",
        )
    return json_answer({**json_bytes("key", key), **item.to_dict()}, status=status, headers=headers)


def _refuse_after(call: HttpCall) -> None:
    if "after" in call.query:
        raise InvalidArgument("after is for a watch", hint="Accept: text/event-stream")


def _context(call: HttpCall) -> CausalContext | None:
    """The context that the headers give: of If-Match, or an empty one for If-None-Match: *."""
    match, none_match = (call.request.headers.get(name) for name in ("If-Match", "If-None-Match"))
    if match is not None and none_match is not None:
        raise InvalidArgument("give If-Match or If-None-Match, not both")
    if none_match is not None:
        if given_etag("If-None-Match", none_match) != "*":
            raise InvalidArgument("If-None-Match of a write must be *", hint="it adds a sibling")
        return EMPTY
    if match is None:
        return None
    given = given_etag("If-Match", match)
    if given == "*":
        raise InvalidArgument("If-Match is *; here it must be the ETag of a read")
    return CausalContext.parse(given)


def _is_known(call: HttpCall, item: Item) -> bool:
    header = call.request.headers.get("If-None-Match")
    return header is not None and given_etag("If-None-Match", header) in ("*", item.context.text)


def _sibling(item: Item, number: int) -> bytes:
    if not 1 <= number <= len(item.siblings):
        raise NotFound(f"there is no sibling {number}; the key holds {len(item.siblings)}")
    return item.siblings[number - 1]


def _multipart(item: Item, status: int, headers: dict[str, str]) -> web.Response:
    """A part for each sibling, newest first (RFC 2046), each with its dot."""
    boundary = sha256(b"\0".join((item.context.token, *item.siblings))).hexdigest()[:40]
    parts: list[bytes] = []
    for value, dot in zip(item.siblings, item.dots, strict=True):
        head = f"--{boundary}\r\nContent-Type: {BYTES_TYPE}\r\nContent-ID: <{dot}>\r\n\r\n"
        parts += [head.encode(), value, b"\r\n"]
    body: Any = b"".join([*parts, f"--{boundary}--\r\n".encode()])
    return web.Response(
        status=status,
        body=body,
        headers={**headers, "Content-Type": f"{MULTIPART_TYPE}; boundary={boundary}"},
    )
