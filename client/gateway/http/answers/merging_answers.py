"""Counters, sets and maps: values whose concurrent changes all count."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ringmill.client.gateway.http.answers.key_answers import receipt_answer
from ringmill.client.gateway.http.bodies import json_answer, value_of_body
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.values import Receipt, json_bytes
from ringmill.cluster.errors import InvalidArgument

__all__ = [
    "add_to_counter", "add_to_set", "get_counter", "get_map", "get_set", "put_map_entry",
    "remove_from_map", "remove_from_set",
]  # fmt: skip


async def get_counter(call: HttpCall) -> web.StreamResponse:
    """A key that was never counted is 0."""
    counters = call.client.counters(call.named("keyspace"))
    count = await counters.get(call.key, **call.options("r", "timeout"))
    return json_answer({**json_bytes("key", call.key), "count": count})


async def add_to_counter(call: HttpCall) -> web.StreamResponse:
    """Add `amount`, 1 unless it is given.  An addition whose outcome is unknown counts once or not at all."""
    counters = call.client.counters(call.named("keyspace"))
    amount = call.query.get("amount", 1)
    return receipt_answer(call, await counters.add(call.key, amount, **_changing(call)))


async def get_set(call: HttpCall) -> web.StreamResponse:
    """The elements of the set, sorted by their bytes.  A key that was never written is an empty set."""
    sets = call.client.sets(call.named("keyspace"))
    found = await sets.get(call.key, **call.options("r", "timeout"))
    elements = [json_bytes("element", each) for each in sorted(found)]
    return json_answer({**json_bytes("key", call.key), "elements": elements})


async def add_to_set(call: HttpCall) -> web.StreamResponse:
    """Add one element, 1 to 1,024 bytes; with `ttl` it leaves the set by itself."""
    sets, element = call.client.sets(call.named("keyspace")), _entry(call, "element")
    receipt = await sets.add(call.key, element, **_changing(call), **call.options("ttl"))
    return receipt_answer(call, receipt)


async def remove_from_set(call: HttpCall) -> web.StreamResponse:
    """Remove one element; to remove what is not there is no error.  Without an element the key is deleted."""
    sets = call.client.sets(call.named("keyspace"))
    receipt: Receipt
    if _has(call, "element"):
        receipt = await sets.remove(call.key, _entry(call, "element"), **_changing(call))
    else:
        receipt = await sets.delete(call.key, **_changing(call))
    return receipt_answer(call, receipt)


async def get_map(call: HttpCall) -> web.StreamResponse:
    """The entries of the map, sorted by name.  A key that was never written is an empty map."""
    maps = call.client.maps(call.named("keyspace"))
    found = await maps.get(call.key, **call.options("r", "timeout"))
    entries = [{**json_bytes("entry", name), **json_bytes("value", value)} for name, value in found.items()]
    return json_answer({**json_bytes("key", call.key), "entries": entries})


async def put_map_entry(call: HttpCall) -> web.StreamResponse:
    """Set one entry to the body; with `ttl` it leaves the map by itself."""
    maps, entry = call.client.maps(call.named("keyspace")), _entry(call, "entry")
    value = await value_of_body(call)
    receipt = await maps.put(call.key, entry, value, **_changing(call), **call.options("ttl"))
    return receipt_answer(call, receipt)


async def remove_from_map(call: HttpCall) -> web.StreamResponse:
    """Remove one entry; to remove what is not there is no error.  Without an entry the key is deleted."""
    maps = call.client.maps(call.named("keyspace"))
    receipt: Receipt
    if _has(call, "entry"):
        receipt = await maps.remove(call.key, _entry(call, "entry"), **_changing(call))
    else:
        receipt = await maps.delete(call.key, **_changing(call))
    return receipt_answer(call, receipt)


def _changing(call: HttpCall) -> dict[str, Any]:
    return call.options("w", "durability", "timeout")


def _has(call: HttpCall, name: str) -> bool:
    return name in call.query or f"{name}_b64" in call.query


def _entry(call: HttpCall, name: str) -> bytes:
    """The element or the name of the entry, as text or in base64url."""
    text, coded = call.query.get(name), call.query.get(f"{name}_b64")
    if (text is None) is (coded is None):
        raise InvalidArgument(f"give {name} or {name}_b64, one of the two")
    return bytes(coded or b"") if text is None else str(text).encode("utf-8", "surrogateescape")
