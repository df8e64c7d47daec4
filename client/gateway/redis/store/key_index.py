"""The names of a database's keys, in a keyspace of objects beside its registers, which cannot be scanned.

A key's name is put there before the key gets a value, and again whenever it gets one after it had none.  So a
scan of the names finds every key.  It may find some that have no value: they are read before they are shown,
and a name that is older than 10 minutes and has no value is removed, unless it was put again meanwhile.  The
name of a key that has expired stays until the key is removed, as nothing would find that any more (R7).  A
gateway that stands still for 10 minutes between the two steps leaves a key that scans do not find.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.redis.store.key_names import kept_name, key_named
from ringmill.client.values import CausalContext, Item
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.wire.scan_cursor import ScanBounds, decode_cursor, encode_cursor
from ringmill.cluster.wire.token_text import parsed_token, token_text

__all__ = ["INDEX_SUFFIX", "KEPT_S", "IndexPage", "KeyIndex", "NamedKey"]

INDEX_SUFFIX: Final = "-keys"
KEPT_S: Final = 600.0
_TIME: Final = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A name, and whether it is old enough to be removed if its key has no value."""

    key: bytes
    is_old: bool
    context: CausalContext


@dataclass(frozen=True, slots=True)
class IndexPage:
    """Some names, and where the next page begins; "" after the last one."""

    names: Sequence[NamedKey]
    cursor: str


class KeyIndex:
    def __init__(self, client: AsyncClient, name: str, wall: Callable[[], float]) -> None:
        """`name` is that of the keyspace of registers; `wall` tells the time, in seconds since 1970."""
        self._space = client.keyspace(name + INDEX_SUFFIX)
        self._wall = wall

    async def note(self, key: bytes, timeout_s: float) -> None:
        """Have the key found by scans.  Raises as `AsyncKeyspace.put`."""
        await self._space.put(kept_name(key), _TIME.pack(int(self._wall() * 1000)), timeout=timeout_s)

    async def page(self, cursor: str, prefix: bytes, limit: int) -> IndexPage:
        """Names that have the prefix, from `cursor` on, which may be of a page of another prefix; "" begins
        with the first one.

        Raises as `AsyncKeyspace.scan`.
        """
        if cursor:
            scan = self._space.scan(cursor=_with_prefix(cursor, prefix), limit=limit)
        else:
            scan = self._space.scan(prefix=prefix, limit=limit)
        names = []
        async for name, item in scan:
            names.append(NamedKey(key_named(name), self._is_old(item), item.context))
        return IndexPage(names, scan.cursor)

    async def remove_old(self, absent: Sequence[NamedKey]) -> list[NamedKey]:
        """Remove those names of keys without a value that are old, as they were read: one that was put again
        stays.  Returns those that were removed.
        """
        old = [name for name in absent if name.is_old]
        removed = await gather_all(self._try_remove(name) for name in old)
        return [name for name, is_removed in zip(old, removed, strict=True) if is_removed]

    async def _try_remove(self, name: NamedKey) -> bool:
        """Returns whether the name was removed."""
        try:
            await self._space.delete(kept_name(name.key), context=name.context)
        except RingmillError:  # who may only read leaves it to others
            return False
        return True

    def _is_old(self, item: Item) -> bool:
        now_ms = self._wall() * 1000
        return all(
            len(value) == _TIME.size and now_ms - _TIME.unpack(value)[0] > KEPT_S * 1000
            for value in item.siblings
        )


def _with_prefix(cursor: str, prefix: bytes) -> str:
    """The cursor of a scan, changed so that the scan goes on from there with this prefix.

    A place before all keys of the former prefix is the beginning of its partition, as those that stand before
    them were not looked at.
    """
    place = decode_cursor(parsed_token(cursor))
    if place.bounds.prefix == prefix:
        return cursor
    key = b"" if place.key <= place.bounds.prefix else place.key
    return token_text(encode_cursor(place._replace(key=key, bounds=ScanBounds(prefix))))
