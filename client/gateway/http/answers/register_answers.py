"""Registers: a real compare-and-set, with the version as ETag, and counting that is exact."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ringmill.client.gateway.http.answers.key_answers import BYTES_TYPE
from ringmill.client.gateway.http.bodies import JSON_TYPE, json_answer, value_of_body
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.etags import given_etag
from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.values import json_bytes
from ringmill.cluster.errors import Conflict, InvalidArgument

__all__ = ["add_to_register", "delete_register", "get_register", "set_register"]


async def get_register(call: HttpCall) -> web.StreamResponse:
    """The newest value that a majority has agreed on, as bytes or JSON.  The ETag is its version.

    A register without a value is 404, with the version as ETag all the same.
    """
    form, key = call.chosen((BYTES_TYPE, JSON_TYPE)), call.key
    found = await call.registers.get(key, **call.options("timeout"))
    headers = {"ETag": f'"{found.version}"', "Vary": "Accept", "Cache-Control": "no-cache"}
    if found.value is None:
        raise HttpRefusal(
            404, "NOT_FOUND", "the register has no value", headers=headers,
            detail={"version": found.version},
        )  # fmt: skip
    if form == BYTES_TYPE:
        return web.Response(body=found.value, content_type=form, headers=headers)
    document = {**json_bytes("key", key), **json_bytes("value", found.value), "version": found.version}
    return json_answer(document, headers=headers)


async def set_register(call: HttpCall) -> web.StreamResponse:
    """Set the register to the body, if it holds what is expected; say once what that is.

    If-Match has the ETag of a read; If-None-Match: * is a register without a value; `expect` or `expect_b64`
    is the value itself.  Without any of them it is 428.  A register that holds something else is 412, or 409
    for `expect`; the problem's `facts` have what it holds.
    """
    value = await value_of_body(call)
    return await _cas(call, value)


async def delete_register(call: HttpCall) -> web.StreamResponse:
    """Take the value of the register away, under the conditions of PUT."""
    return await _cas(call, None)


async def add_to_register(call: HttpCall) -> web.StreamResponse:
    """Add `amount` to the number that the register holds, once.  A register without a value counts as 0."""
    amount = call.query.get("amount", 1)
    number = await call.registers.incr(call.key, amount, **call.options("timeout"))
    return json_answer({**json_bytes("key", call.key), "number": number})


async def _cas(call: HttpCall, value: bytes | None) -> web.StreamResponse:
    expected, is_condition = _expected(call)
    options = call.options("timeout")
    try:
        version = await call.registers.cas(call.key, value, **expected, **options)
    except Conflict as error:
        status = 412 if is_condition else error.http_status
        raise HttpRefusal(status, error.code, error.message, detail=error.detail) from error
    return json_answer({**json_bytes("key", call.key), "version": version}, headers={"ETag": f'"{version}"'})


def _expected(call: HttpCall) -> tuple[dict[str, Any], bool]:
    """What `cas` is told to expect, and whether a header said it."""
    headers = call.request.headers
    expected: list[tuple[dict[str, Any], bool]] = []
    if (match := headers.get("If-Match")) is not None:
        version = given_etag("If-Match", match)
        if not (version.isascii() and version.isdecimal() and len(version) <= 19):
            raise InvalidArgument(
                f"If-Match is {match[:40]!r}; it must be the ETag of a read of the register"
            )
        expected.append(({"expect_version": int(version)}, True))
    if (none_match := headers.get("If-None-Match")) is not None:
        if given_etag("If-None-Match", none_match) != "*":
            raise InvalidArgument("If-None-Match of a write must be *")
        expected.append(({"expect": None}, True))
    if (text := call.query.get("expect")) is not None:
        expected.append(({"expect": text.encode("utf-8", "surrogateescape")}, False))
    if (coded := call.query.get("expect_b64")) is not None:
        expected.append(({"expect": coded}, False))
    if not expected:
        raise HttpRefusal(
            428, "NO_EXPECTATION", "a register is set only if it holds what is expected; nothing was",
            hint="If-Match with the ETag of a read, If-None-Match: *, or ?expect=VALUE",
        )  # fmt: skip
    if len(expected) > 1:
        raise InvalidArgument("say once what the register has to hold")
    return expected[0]
