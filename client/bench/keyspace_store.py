"""A keyspace of a cluster as a load sees it: every call with the same levels and durability."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringmill.cluster.errors import RingmillError

if TYPE_CHECKING:
    from ringmill.client.arguments import Durability, Level
    from ringmill.client.kv import AsyncKeyspace

__all__ = ["KeyspaceStore"]


class KeyspaceStore:
    """Puts at `w` and `durability`, gets at `r`; None is what the keyspace or the product takes by itself."""

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
        """The newest value where there are siblings."""
        item = await self._space.get(key, None, r=self._r)
        return None if item is None else item.newest

    async def modify(self, key: bytes, value: bytes) -> None:
        """With the context of what was read, so that a concurrent write becomes a sibling and is not lost."""
        item = await self._space.get(key, None, r=self._r)
        context = None if item is None else item.context
        await self._space.put(key, value, context=context, w=self._w, durability=self._durability)

    async def delete(self, key: bytes) -> None:
        """At the keyspace's own level, whatever that of the puts was."""
        await self._space.delete(key)
