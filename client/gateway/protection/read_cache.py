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
from ringmill.cluster.errors import DeadlineExceeded

__all__ = ["ReadCache"]

MOST_BYTES: Final = 64 << 20
_OVERHEAD: Final = 1500
"""Bytes of an item beside its name and values, with its place in the cache."""
_OF_SIBLING: Final = 200
"""Bytes of a sibling beside its value."""


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
        self.reads = {"memory": 0, "other_read": 0, "own_read": 0}
        """How many were answered from memory, joined a read of another caller, and began one of their own."""

    async def get(
        self,
        place: Hashable,
        reader: Hashable,
        load: Callable[[float], Awaitable[Item]],
        begun: Callable[[asyncio.Task[Item]], None],
        within_s: float = 5.0,
        may_begin: Callable[[], None] = lambda: None,
    ) -> tuple[Item, bool]:
        """The item, and whether no read of this call's own was needed.

        `load` gets the seconds that are left of `within_s`.  That of another caller is waited for as long,
        and when its time ends before this call's, the item is loaded again.  A read goes on when its caller
        leaves; `begun` gets its task.  `may_begin` is asked before a read of this call's own; what it raises
        is told to this call alone.  Raises DeadlineExceeded, and what `load` raises; an error is told to
        those who wait for it, and is not kept.
        """
        name, clock = (place, reader), asyncio.get_running_loop().time
        until = clock() + within_s
        while (left_s := until - clock()) > 0:
            kept = self._kept.get(name)
            if kept is not None and clock() < kept.until:
                self._kept.move_to_end(name)
                self.reads["memory"] += 1
                return kept.item, True
            reading = self._under_way.get(name)
            if reading is None:
                may_begin()
                self.reads["own_read"] += 1
                return await asyncio.shield(self._begin(name, load, left_s, begun)), False
            self.reads["other_read"] += 1
            try:
                async with asyncio.timeout(left_s):
                    return await asyncio.shield(reading), True
            except DeadlineExceeded:
                continue  # that was the other one's time
            except TimeoutError:
                break
        raise DeadlineExceeded(f"the read was not answered within {within_s:g} s")

    def _begin(
        self,
        name: tuple[Hashable, Hashable],
        load: Callable[[float], Awaitable[Item]],
        left_s: float,
        begun: Callable[[asyncio.Task[Item]], None],
    ) -> asyncio.Task[Item]:
        reading = asyncio.create_task(self._load(name, load(left_s)), name="cached-read")
        self._under_way[name] = reading
        reading.add_done_callback(_look_at)
        begun(reading)
        return reading

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

    async def _load(self, name: tuple[Hashable, Hashable], loading: Awaitable[Item]) -> Item:
        this = asyncio.current_task()
        try:
            item = await loading
        finally:
            is_current = self._under_way.get(name) is this
            if is_current:
                del self._under_way[name]
        if is_current:
            self._keep(name, item)
        return item

    def _keep(self, name: tuple[Hashable, Hashable], item: Item) -> None:
        lives_s = min([self.ttl_s, *(each for each in item.ttls if each is not None)])
        size = sum(len(each) + _OF_SIBLING for each in item.siblings) + len(item.context.token)
        size += _length(name) + _OVERHEAD
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


def _length(name: Hashable) -> int:
    """The length of all texts and bytes in it."""
    if isinstance(name, tuple):
        return sum(map(_length, name))
    return len(name) if isinstance(name, str | bytes) else 0


def _look_at(reading: asyncio.Task[Item]) -> None:
    """Take note of a read's error: it is nobody's when all who waited have left."""
    if not reading.cancelled():
        reading.exception()
