"""Keyspaces: listed, made, changed and dropped."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from ringmill.client.administration.keyspaces import KeyspaceInfo
from ringmill.client.arguments import checked_durability
from ringmill.client.gateway.http.bodies import json_answer, json_object
from ringmill.client.gateway.http.call import HttpCall
from ringmill.cluster.errors import InvalidArgument, NotFound

__all__ = ["alter_keyspace", "create_keyspace", "drop_keyspace", "get_keyspace", "list_keyspace_settings"]

_MOST_BYTES: Final = 64 * 1024
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "kind": (str,), "policy": (str,), "quorum": (str,), "durability": (str,), "r": (int,), "w": (int,),
    "ttl": (int, float),
}  # fmt: skip
_ALTERED: Final = frozenset({"r", "w", "ttl", "durability"})


async def list_keyspace_settings(call: HttpCall) -> web.StreamResponse:
    """All keyspaces, in the order in which they were made."""
    found = await call.client.keyspaces.list(**call.options("timeout"))
    return json_answer({"keyspaces": [_document(info) for info in found]})


async def get_keyspace(call: HttpCall) -> web.StreamResponse:
    """The settings of one keyspace."""
    name = call.named("keyspace")
    for info in await call.client.keyspaces.list(**call.options("timeout")):
        if info.name == name:
            return json_answer(_document(info))
    raise NotFound(f"there is no keyspace {name[:80]!r}")


async def create_keyspace(call: HttpCall) -> web.StreamResponse:
    """The body has the settings that are not to be the usual ones; it may be {}.

    A keyspace that exists with these settings is fine: `changed` is false then.  With others it is 409.
    """
    settings = _settings(await json_object(call, _MOST_BYTES, frozenset(_TYPES)))
    info = await call.client.keyspaces.create(call.named("keyspace"), **settings, **call.options("timeout"))
    return json_answer({**_document(info), "changed": info.changed}, status=201 if info.changed else 200)


async def alter_keyspace(call: HttpCall) -> web.StreamResponse:
    """Change the defaults of requests; what is not given stays.  A `ttl` of 0 means no expiry."""
    settings = _settings(await json_object(call, _MOST_BYTES, _ALTERED))
    if not settings:
        raise InvalidArgument("nothing is to be changed", hint='{"ttl": 3600}, for example')
    info = await call.client.keyspaces.alter(call.named("keyspace"), **settings, **call.options("timeout"))
    return json_answer({**_document(info), "changed": info.changed})


async def drop_keyspace(call: HttpCall) -> web.StreamResponse:
    """Take the keyspace away: its keys cannot be reached any more, by anybody."""
    name = call.named("keyspace")
    epoch = await call.client.keyspaces.drop(name, **call.options("timeout"))
    if call.cache is not None:
        call.cache.drop_all()
    return json_answer({"name": name, "epoch": epoch})


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """The settings that are given, each of its type.  Raises InvalidArgument."""
    for name, value in given.items():
        if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
            types = " or ".join(each.__name__ for each in _TYPES[name])
            raise InvalidArgument(f"{name} is {str(value)[:40]!r}, need {types}")
    checked_durability(given.get("durability"))
    return given


def _document(info: KeyspaceInfo) -> dict[str, Any]:
    document = {name: value for name, value in info.to_dict().items() if name != "changed"}
    return {**document, "durability": "synced" if info.durability == "sync" else info.durability}
