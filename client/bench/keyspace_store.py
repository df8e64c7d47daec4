"""A keyspace as the store of a load: every call has the same levels and durability."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringmill.cluster.errors import RingmillError

if TYPE_CHECKING:
    from ringmill.client.arguments import Durability, Level
    from ringmill.client.kv import AsyncKeyspace

__all__ = ["KeyspaceStore"]


class KeyspaceStore:
    """Puts with `w` and `durability`, gets with `r`.  None is the default of the keyspace."""

    def __init__(
        self,
        space: AsyncKeyspace,
        *,
        w: Level | None = None,
        r: Level | None = None,
        durability: Durability | None = None,
    ) -> None:
        self._space = space
        self._w = w
        self._r = r
        self._durability = durability

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        return (RingmillError,)

    async def put(self, key: bytes, value: bytes) -> None:
        await self._space.put(key, value, w=self._w, durability=self._durability)

    async def get(self, key: bytes) -> bytes | None:
        """The value, of several siblings the newest."""
        item = await self._space.get(key, None, r=self._r)
        return None if item is None else item.newest

    async def modify(self, key: bytes, value: bytes) -> None:
        """Put with the context of the read, so that a concurrent write is not lost."""
        item = await self._space.get(key, None, r=self._r)
        context = None if item is None else item.context
        await self._space.put(key, value, context=context, w=self._w, durability=self._durability)

    async def scan(self, key: bytes, most: int) -> int:
        """Scan from a key on, among those with its hash tag, which are in one partition and in order."""
        prefix = key[: key.index(b"}") + 1]
        count = 0
        async for _ in self._space.scan(prefix=prefix, start=key, limit=most, r=self._r):
            count += 1
        return count

    async def delete(self, key: bytes) -> None:
        """Delete with the default level of the keyspace."""
        await self._space.delete(key)
