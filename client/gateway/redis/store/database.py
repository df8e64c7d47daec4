"""One database of Redis, for the callers with one token: its keys, and scans of their names."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.redis.commands.arguments.globs import Matching, literal_prefix
from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply
from ringmill.client.gateway.redis.store.expired_keys import ExpiryFigures
from ringmill.client.gateway.redis.store.key_index import KeyIndex, NamedKey
from ringmill.client.gateway.redis.store.key_queues import KeyQueues
from ringmill.client.gateway.redis.store.typed_values import Entry, type_name
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.limits import MAX_KEY_BYTES, MAX_SCAN_ITEMS
from ringmill.cluster.ports import Clock, Entropy

__all__ = ["Database"]

MOST_CURSORS: Final = 10_000
_CURSORS: Final = 1 << 20
"""How many numbers of cursors a database has in one start; which ones is drawn.  They are below 2^53,
as larger numbers are not exact in JavaScript."""
_EXPIRED: Final = "has expired"
_STEPS_AT_ONCE: Final = 1 << 18
"""Comparisons of patterns with names: some milliseconds."""


class Database:
    """Redis's cursors are numbers and the cluster's are texts, so the gateway remembers the last 10,000.

    A cursor of another gateway, or of an earlier start, is refused.
    """

    def __init__(
        self,
        clients: ClientsByToken,
        token: str,
        name: str,
        *,
        timeout_s: float,
        clock: Clock,
        entropy: Entropy,
        figures: ExpiryFigures | None = None,
    ) -> None:
        """`name` is that of the keyspace of registers."""
        self.name = name
        self._clients = clients
        self._token = token
        self._clock = clock
        self._cursors: OrderedDict[int, str] = OrderedDict()
        drawn = int.from_bytes(entropy.random_bytes("redis.cursors", 4))
        self._numbers = itertools.count(drawn * _CURSORS + 1)
        self.keys = KeyQueues(
            self._borrow_client,
            name,
            has_token=bool(token),
            timeout_s=timeout_s,
            clock=clock,
            figures=figures,
        )

    async def scan(
        self, cursor: int, pattern: bytes | None, count: int, type_wanted: bytes | None
    ) -> tuple[int, list[bytes]]:
        """Some names of keys, and where the next page begins; 0 after the last one.

        Raises RedisError.
        """
        matching = None if pattern is None else Matching(pattern)
        place = ""
        if cursor:
            if cursor not in self._cursors:
                raise RedisError("ERR invalid cursor: this gateway does not know it, or has forgotten it")
            place = self._cursors[cursor]
            self._cursors.move_to_end(cursor)
        place, found = await self._page(place, pattern, matching, count, type_wanted)
        return self._number_of(place), found

    async def all_keys(self, pattern: bytes | None = None) -> AsyncIterator[list[bytes]]:
        """The names of all keys that the pattern matches, page by page.  No cursor is remembered for it.

        Raises RedisError.
        """
        matching = None if pattern is None else Matching(pattern)
        place = ""
        while True:
            place, names = await self._page(place, pattern, matching, MAX_SCAN_ITEMS, None)
            yield names
            if not place:
                return

    async def _page(
        self,
        place: str,
        pattern: bytes | None,
        matching: Matching | None,
        count: int,
        type_wanted: bytes | None,
    ) -> tuple[str, list[bytes]]:
        """One page of a scan, from a place to a place."""
        found: list[bytes] = []
        prefix = literal_prefix(pattern or b"")[:MAX_KEY_BYTES]
        try:
            async with self._borrow_client() as client:
                index, looked_at = self._index_of(client), 0
                while True:
                    wanted = min(count, MAX_SCAN_ITEMS) - len(found)
                    page = await index.page(place, prefix, wanted)
                    found += await self._present(page.names, matching, type_wanted)
                    place, looked_at = page.cursor, looked_at + len(page.names)
                    if not place or looked_at >= MAX_SCAN_ITEMS or len(found) >= count:
                        return place, found
        except RingmillError as error:
            raise self.keys.redis_error_of(error) from error

    def _borrow_client(self) -> AbstractAsyncContextManager[AsyncClient]:
        return self._clients.lend(self._token)

    def _index_of(self, client: AsyncClient) -> KeyIndex:
        return KeyIndex(client, self.name, self._clock.wall)

    async def _present(
        self, names: Sequence[NamedKey], matching: Matching | None, type_wanted: bytes | None
    ) -> list[bytes]:
        """The names of keys that have a value; old names of keys that have none are removed."""
        if matching is not None:
            names = [name async for name in _matched(names, matching)]
        types = await self.keys.ask_each([name.key for name in names], _type_of)
        present, absent = [], []
        for name, kind in zip(names, types, strict=True):
            if isinstance(kind, RedisError):
                raise kind
            if kind == "none":
                absent.append(name)
            elif kind == _EXPIRED:
                continue  # it may still be there, if nobody could remove it
            elif type_wanted is None or kind.encode() == type_wanted:  # type: ignore[union-attr]
                present.append(name.key)
        if any(name.is_old for name in absent):
            async with self._borrow_client() as client:
                await self._index_of(client).remove_old(absent)
        return present

    def _number_of(self, place: str) -> int:
        if not place:
            return 0
        number = next(self._numbers)
        self._cursors[number] = place
        if len(self._cursors) > MOST_CURSORS:
            self._cursors.popitem(last=False)
        return number


async def _matched(names: Sequence[NamedKey], matching: Matching) -> AsyncIterator[NamedKey]:
    """The names that the pattern matches.  Other callers are served meanwhile, however long it takes."""
    pause_at = matching.steps + _STEPS_AT_ONCE
    for name in names:
        if matching.steps > pause_at:
            pause_at = matching.steps + _STEPS_AT_ONCE
            await asyncio.sleep(0)
        if matching.matches(name.key):
            yield name


def _type_of(entry: Entry, _now_ms: int) -> Reply:
    return _EXPIRED if entry.has_expired and entry.value is None else type_name(entry.value)
