"""A session: what its reads and writes have shown, its later ones see, through whatever node they go.

    async with db.session() as session:
        await session.put("cart", b"1 apple", w=1)
        item = await session.get("cart", r=1)      # shows that write, or a newer one

At any level, also where one owner answers.  A read that would go back asks further owners, and fails when
nobody can show it what the session has seen.  `token()` carries the session to another process.  Promises:
docs/guarantees.md, "Sessions".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, Unpack, overload

from ringmill.client.arguments import Key, Level, Seconds, Value, checked_value
from ringmill.client.kv import AsyncKeyspace, read, touch, write
from ringmill.client.kv_requests import (
    MISSING,
    DeleteSettings,
    Missing,
    PutSettings,
    TouchSettings,
    delete_options,
    put_options,
    read_options,
    touch_options,
)
from ringmill.client.session_memory import SessionMemory
from ringmill.client.values import Item, Receipt
from ringmill.cluster.errors import ClientClosed

__all__ = ["AsyncSession", "AsyncSessionKeyspace"]

T = TypeVar("T")


class AsyncSessionKeyspace:
    """One keyspace under a session: `put`, `get`, `delete` and `touch` as of AsyncKeyspace."""

    def __init__(self, space: AsyncKeyspace, memory: SessionMemory) -> None:
        self._space = space
        self._memory = memory
        self._is_over = False

    @property
    def name(self) -> str:
        """The name of the keyspace."""
        return self._space.name

    async def put(self, key: Key, value: Value, **settings: Unpack[PutSettings]) -> Receipt:
        """Write a value (AsyncKeyspace.put), without a context also over what the session has seen of it.

        Raises QuorumNotReached, with outcome "failed", when a context cannot name what it has to replace and
        no owner that answers holds it.
        """
        options = put_options(**settings)
        return await write(self._space, key, checked_value(value), options, self._usable())

    async def touch(self, key: Key, *, ttl: Seconds | None, **settings: Unpack[TouchSettings]) -> Receipt:
        """Change the expiry of a value that covers what the session has seen (AsyncKeyspace.touch)."""
        return await touch(self._space, key, touch_options(ttl, **settings), self._usable())

    async def delete(self, key: Key, **settings: Unpack[DeleteSettings]) -> Receipt:
        """Write a tombstone, under the rules of `put` (AsyncKeyspace.delete)."""
        return await write(self._space, key, None, delete_options(**settings), self._usable())

    @overload
    async def get(self, key: Key, *, r: Level | None = None, timeout: Seconds | None = None) -> Item: ...

    @overload
    async def get(
        self, key: Key, default: T, *, r: Level | None = None, timeout: Seconds | None = None
    ) -> Item | T: ...

    async def get(
        self,
        key: Key,
        default: T | Missing = MISSING,
        *,
        r: Level | None = None,
        timeout: Seconds | None = None,
    ) -> Item | T:
        """Read a key as AsyncKeyspace.get does, and never older than what the session has seen of it.

        Raises QuorumNotReached when no owner that answers shows that.
        """
        return await read(self._space, key, read_options(r=r, timeout=timeout), default, self._usable())

    def _usable(self) -> SessionMemory:
        if self._is_over:
            raise ClientClosed("this session has ended", hint="begin another one: db.session(token=…)")
        return self._memory


class AsyncSession(AsyncSessionKeyspace):
    """The methods of keyspace `default` under a session, and access to other keyspaces.

    Its requests may run at once; each sees what had been answered before it began.  The session lasts longer
    than the client when its `token()` is kept.
    """

    def __init__(
        self, space: AsyncKeyspace, memory: SessionMemory, keyspace: Callable[[str], AsyncKeyspace]
    ) -> None:
        super().__init__(space, memory)
        self._keyspace = keyspace
        self._parts: dict[str, AsyncSessionKeyspace] = {}  # by keyspace

    async def __aenter__(self) -> AsyncSession:
        self._space._router.directory.lifetime.check()
        return self

    async def __aexit__(self, *_: object) -> None:
        for part in [self, *self._parts.values()]:
            part._is_over = True

    def keyspace(self, name: str) -> AsyncSessionKeyspace:
        """The methods of this session for another keyspace.  Raises InvalidArgument."""
        memory, space = self._usable(), self._keyspace(name)
        if name not in self._parts:
            self._parts[name] = AsyncSessionKeyspace(space, memory)
        return self._parts[name]

    def token(self) -> bytes:
        """What this session has seen until now: `db.session(token=…)` goes on with it, in any process.

        At most about 256 KiB; it names the keys only by hashes, and is not secret.
        """
        return self._memory.encode()
