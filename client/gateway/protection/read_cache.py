"""A cache of reads, for a time that whoever opens the gateway chooses, with one read for each miss.

A value that comes from it may be as old as `ttl_s`.  So may that of a reader that shares the read of another:
it may have begun before this reader asked.  A write through this gateway takes its key out; writes by other
ways are seen when the time is over.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final

from ringmill.client.values import Item

__all__ = ["ReadCache"]

MOST_BYTES: Final = 64 << 20
_OVERHEAD: Final = 500
"""Bytes of an item beside its values."""


@dataclass(frozen=True, slots=True)
class _Kept:
    item: Item
    size: int
    until: float


class ReadCache:
    """Items by place, which a write drops, and reader: who may see it, and how it was read."""

    def __init__(self, ttl_s: float, most_bytes: int = MOST_BYTES) -> None:
        self.ttl_s = ttl_s
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[Hashable, Hashable], _Kept] = OrderedDict()
        self._readers: dict[Hashable, set[Hashable]] = {}
        self._under_way: dict[tuple[Hashable, Hashable], asyncio.Task[Item]] = {}

    async def get(
        self,
        place: Hashable,
        reader: Hashable,
        load: Callable[[], Awaitable[Item]],
        begun: Callable[[asyncio.Task[Item]], None],
    ) -> tuple[Item, bool]:
        """The item, and whether no read of this call's own was needed.

        A read goes on when its caller leaves; `begun` gets its task.  Raises what `load` raises; an error is
        told to those who wait for it, and is not kept.
        """
        name, now = (place, reader), asyncio.get_running_loop().time()
        kept = self._kept.get(name)
        if kept is not None and now < kept.until:
            self._kept.move_to_end(name)
            return kept.item, True
        reading = self._under_way.get(name)
        is_shared = reading is not None
        if reading is None:
            reading = self._under_way[name] = asyncio.create_task(self._load(name, load), name="cached-read")
            begun(reading)
        return await asyncio.shield(reading), is_shared

    def drop(self, place: Hashable) -> None:
        """Keep nothing of it: it is being written.  A read under way is not kept, either."""
        for reader in self._readers.pop(place, ()):
            self._forget((place, reader))
        for name in [name for name in self._under_way if name[0] == place]:
            del self._under_way[name]

    def drop_all(self) -> None:
        """Keep nothing of anything."""
        for place in [*self._readers, *(name[0] for name in self._under_way)]:
            self.drop(place)

    async def _load(self, name: tuple[Hashable, Hashable], load: Callable[[], Awaitable[Item]]) -> Item:
        this = asyncio.current_task()
        try:
            item = await load()
        finally:
            is_current = self._under_way.get(name) is this
            if is_current:
                del self._under_way[name]
        if is_current:
            self._keep(name, item)
        return item

    def _keep(self, name: tuple[Hashable, Hashable], item: Item) -> None:
        lives_s = min([self.ttl_s, *(each for each in item.ttls if each is not None)])
        size = sum(map(len, item.siblings)) + len(item.context.token) + _OVERHEAD
        if size > self._most_bytes:
            return
        self._forget(name)
        until = asyncio.get_running_loop().time() + lives_s
        self._kept[name] = _Kept(item, size, until)
        self._readers.setdefault(name[0], set()).add(name[1])
        self._bytes += size
        while self._bytes > self._most_bytes:
            oldest = next(iter(self._kept))
            self._forget(oldest)

    def _forget(self, name: tuple[Hashable, Hashable]) -> None:
        kept = self._kept.pop(name, None)
        if kept is None:
            return
        self._bytes -= kept.size
        readers = self._readers.get(name[0])
        if readers is not None:
            readers.discard(name[1])
            if not readers:
                del self._readers[name[0]]
