"""One request as the handlers of the routes see it: its path, its parameters, its caller's client."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from aiohttp import web

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.http.http_admission import Slot
from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.gateway.jobs.gateway_jobs import GatewayJobs
from ringmill.client.gateway.protection.read_cache import ReadCache
from ringmill.client.kv import AsyncKeyspace, time_of_read, under_name
from ringmill.client.operations import OperationName
from ringmill.client.registers.registers import AsyncRegisters, registers_under_name
from ringmill.client.values import Item
from ringmill.cluster.errors import InvalidArgument

__all__ = ["CallersCache", "HttpCall", "takes_gzip"]


@dataclass(frozen=True, slots=True)
class CallersCache:
    """The cache of reads as one caller sees it: nobody gets what somebody with another token has read."""

    cache: ReadCache
    token: str

    async def read(
        self, space: AsyncKeyspace, key: bytes, options: Mapping[str, Any], slot: Slot
    ) -> tuple[Item, bool]:
        """The item, and whether it came from a read of another request.  One of its own takes a place.

        Raises as `AsyncKeyspace.get`, and HttpRefusal 503 when there is no place.
        """
        level = {name: value for name, value in options.items() if name != "timeout"}
        place, reader = (space.name, key), (self.token, level.get("r"))

        def load(left_s: float) -> Coroutine[Any, Any, Item]:
            return space.get(key, **level, timeout=left_s)

        within_s = time_of_read(space, options.get("timeout"))
        return await self.cache.get(place, reader, load, slot.stays_for, within_s, slot.take_place)

    def drop_all(self) -> None:
        """A keyspace has gone: nothing of it is to be told."""
        self.cache.drop_all()

    def drop(self, space: AsyncKeyspace, key: bytes) -> None:
        """The key is being written."""
        self.cache.drop((space.name, key))


@dataclass(slots=True)
class HttpCall:
    """`path` has the named segments as they came, percent-encoded; `query` the parameters that were given.

    `asking` asks with the caller's token; None for a route that needs no cluster.
    `common` are headers that every answer has.  `operation` is the name of a write that the caller may send
    again, and `body` what was read of it already.  `cache` is that of reads, if there is one;
    `jobs` takes jobs, if this gateway does.  `ending` is set when the gateway stops.
    """

    request: web.BaseRequest
    path: Mapping[str, str]
    query: dict[str, Any]
    asking: AsyncClient | None
    common: Mapping[str, str]
    slot: Slot
    ending: asyncio.Event
    cache: CallersCache | None = None
    operation: OperationName | None = None
    body: bytes | None = None
    jobs: GatewayJobs | None = None

    @property
    def client(self) -> AsyncClient:
        """Asks the cluster for this caller."""
        assert self.asking is not None, "the route says that it needs no cluster"
        return self.asking

    @property
    def has_token(self) -> bool:
        """Whether the caller has shown one, good or not."""
        return "Authorization" in self.request.headers

    @contextmanager
    def writing(self, *keys: bytes) -> Iterator[None]:
        """While it lasts, and from then on, these keys are read anew."""
        try:
            self._drop(keys)
            yield
        finally:
            self._drop(keys)

    def _drop(self, keys: tuple[bytes, ...]) -> None:
        if self.cache is not None:
            space = self.space
            for key in keys:
                self.cache.drop(space, key)

    def named(self, segment: str) -> str:
        """A segment of the path as text.  Raises InvalidArgument when it is not UTF-8."""
        try:
            return unquote(self.path[segment], errors="strict")
        except UnicodeDecodeError:
            raise InvalidArgument(f"{segment} {self.path[segment][:40]!r} is not UTF-8") from None

    @property
    def key(self) -> bytes:
        """The key: the last segment with all its slashes, or `key_b64`."""
        in_path, coded = unquote_to_bytes(self.path["key"]), self.query.get("key_b64")
        if coded is None:
            return in_path
        if in_path:
            raise InvalidArgument("the key is in the path and in key_b64: give one of them")
        return bytes(coded)

    @property
    def space(self) -> AsyncKeyspace:
        """The keyspace that the path names."""
        space = self.client.keyspace(self.named("keyspace"))
        return space if self.operation is None else under_name(space, self.operation)

    @property
    def registers(self) -> AsyncRegisters:
        """The registers of the keyspace that the path names."""
        registers = self.client.registers.keyspace(self.named("keyspace"))
        return registers if self.operation is None else registers_under_name(registers, self.operation)

    @property
    def prefix(self) -> bytes:
        """The beginning of keys that `prefix` or `prefix_b64` gives; empty for all."""
        text, coded = self.query.get("prefix"), self.query.get("prefix_b64")
        if text is not None and coded is not None:
            raise InvalidArgument("give prefix or prefix_b64, not both")
        return bytes(coded or b"") if text is None else str(text).encode("utf-8", "surrogateescape")

    def options(self, *names: str) -> dict[str, Any]:
        """The values of these parameters as far as they were given, to be passed on by name."""
        return {name: self.query[name] for name in names if name in self.query}

    def chosen(self, offered: tuple[str, ...]) -> str:
        """The media type that the caller accepts first, of those that are offered; by Accept (RFC 9110).

        The first of `offered` when it accepts all alike.  Raises HttpRefusal 406.
        """
        accepted = self.request.headers.get("Accept", "")
        chosen = _first_accepted(accepted, offered)
        if chosen is None:
            raise HttpRefusal(
                406, "NOT_ACCEPTABLE", f"Accept is {accepted[:80]!r}; here there is {', '.join(offered)}"
            )
        return chosen

    def prefers(self, media_type: str, others: tuple[str, ...]) -> bool:
        """Whether Accept names exactly this type, and gives it no less weight than each of the others."""
        accepted = self.request.headers.get("Accept", "")
        return _names(accepted, media_type) and _first_accepted(accepted, (media_type, *others)) == media_type

    def accepts_explicitly(self, media_type: str) -> bool:
        """Whether Accept names exactly this type."""
        return _names(self.request.headers.get("Accept", ""), media_type)


@lru_cache(256)
def takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding takes gzip, and no less than the answer as it is (RFC 9110, 12.5.3)."""
    weights = dict(_media_range(each) for each in accepted.split(","))
    others = weights.get("*", 0.0)
    weight = weights.get("gzip", weights.get("x-gzip", others))
    return weight > 0 and weight >= weights.get("identity", 0.0)


@lru_cache(256)
def _first_accepted(accepted: str, offered: tuple[str, ...]) -> str | None:
    if not accepted.strip():
        return offered[0]
    ranges = [_media_range(each) for each in accepted.split(",")]
    weight, minus_at = max((_weight(ranges, each), -at) for at, each in enumerate(offered))
    return offered[-minus_at] if weight > 0 else None


@lru_cache(256)
def _names(accepted: str, media_type: str) -> bool:
    ranges = [_media_range(each) for each in accepted.split(",")]
    return any(name == media_type and weight > 0 for name, weight in ranges)


def _media_range(text: str) -> tuple[str, float]:
    name, *parameters = (each.strip().lower() for each in text.split(";"))
    for each in parameters:
        if each.startswith("q="):
            try:
                return name, float(each[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0


def _weight(ranges: list[tuple[str, float]], media_type: str) -> float:
    """The weight of the most specific range that covers the type; 0 when none does."""
    kind = media_type.partition("/")[0]
    for wanted in (media_type, f"{kind}/*", "*/*"):
        found = [weight for name, weight in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0
