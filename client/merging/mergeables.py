"""Counters, sets and maps: values of keyspaces whose concurrent changes all count.

Each change is a write of the key with a receipt, under the levels of `put`; what has been changed at the same
time on two sides of a split is merged.  A read folds what the owners hold.  Promises: docs/guarantees.md.
"""

from __future__ import annotations

from typing import ClassVar, TypedDict, Unpack

from ringmill.client.arguments import (
    Durability,
    Key,
    Level,
    Seconds,
    Value,
    checked_amount,
    checked_entry,
    checked_value,
)
from ringmill.client.kv import AsyncKeyspace, read, write
from ringmill.client.kv_requests import DeleteSettings, ManyPutsSettings, put_options, read_options
from ringmill.client.values import Item, Receipt
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.versions.mergeable import count_of, elements_of, entries_of

__all__ = ["AsyncCounters", "AsyncMaps", "AsyncSets", "ChangeSettings"]


class ChangeSettings(TypedDict, total=False):
    """What the caller of a change may ask of it."""

    w: Level | None
    durability: Durability | None
    timeout: Seconds | None


class _Merging:
    policy: ClassVar[str]

    def __init__(self, space: AsyncKeyspace) -> None:
        self._space = space
        self.name = space.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    async def delete(self, key: Key, **settings: Unpack[DeleteSettings]) -> Receipt:
        """Delete the key: all that the coordinator knows of it.  Raises as `AsyncKeyspace.delete`.

        A change that is made at the same time stays.
        """
        return await self._space.delete(key, **settings)

    def _check_policy(self) -> None:
        """Raise InvalidArgument when this client knows that the keyspace has another policy."""
        topology, name = self._space._router.directory.topology, self.name
        if topology is not None and topology.has_keyspace(name):
            found = topology.keyspace_named(name).policy
            if found != self.policy:
                raise InvalidArgument(f"keyspace {name!r} has policy {found}, not {self.policy}")

    async def _values(self, key: Key, r: Level | None, timeout: Seconds | None) -> tuple[bytes, ...]:
        self._check_policy()
        item: Item | None = await read(self._space, key, read_options(r=r, timeout=timeout), None)
        return item.siblings if item is not None else ()


class AsyncCounters(_Merging):
    """The counters of a keyspace of policy counter; a key that was never counted is 0."""

    policy = "counter"

    async def add(self, key: Key, amount: int = 1, **settings: Unpack[ChangeSettings]) -> Receipt:
        """Add an amount, which may be negative.

        It is never sent again once it may have been counted, so an answered addition counts once, and one
        whose outcome is unknown once or not at all.  Raises as `AsyncKeyspace.put`.
        """
        self._check_policy()
        checked_amount(amount)
        return await write(self._space, key, b"", put_options(**settings), amount=amount)

    async def get(self, key: Key, *, r: Level | None = None, timeout: Seconds | None = None) -> int:
        """The count.  Raises as `AsyncKeyspace.get`, but not NotFound."""
        return count_of(await self._values(key, r, timeout))


class AsyncSets(_Merging):
    """The sets of bytes of a keyspace of policy set.

    A set holds up to 1,000 elements of 1 to 1,024 bytes; each change reads and writes the whole set.
    """

    policy = "set"

    async def add(self, key: Key, element: Value | str, **settings: Unpack[ManyPutsSettings]) -> Receipt:
        """Add an element; with `ttl` it leaves the set by itself.  Raises as `AsyncKeyspace.put`."""
        self._check_policy()
        return await write(self._space, key, b"", put_options(**settings), entry=checked_entry(element))

    async def remove(self, key: Key, element: Value | str, **settings: Unpack[ChangeSettings]) -> Receipt:
        """Remove an element that was added before; one that is added at the same time stays.

        Removing what is not there is no error.  Raises as `AsyncKeyspace.put`.
        """
        self._check_policy()
        return await write(self._space, key, None, put_options(**settings), entry=checked_entry(element))

    async def get(
        self, key: Key, *, r: Level | None = None, timeout: Seconds | None = None
    ) -> frozenset[bytes]:
        """The elements.  Raises as `AsyncKeyspace.get`, but not NotFound."""
        return elements_of(await self._values(key, r, timeout))


class AsyncMaps(_Merging):
    """The maps of a keyspace of policy map: entries of a name, 1 to 1,024 bytes, and a value.

    A map holds up to 1,000 entries and 4 MiB; each change reads and writes the whole map.
    """

    policy = "map"

    async def put(
        self, key: Key, entry: Value | str, value: Value, **settings: Unpack[ManyPutsSettings]
    ) -> Receipt:
        """Set an entry; with `ttl` it leaves the map by itself.

        Of values that were put at the same time the newest by hybrid time is read.  Raises as
        `AsyncKeyspace.put`.
        """
        self._check_policy()
        data, options = checked_value(value), put_options(**settings)
        return await write(self._space, key, data, options, entry=checked_entry(entry))

    async def remove(self, key: Key, entry: Value | str, **settings: Unpack[ChangeSettings]) -> Receipt:
        """Remove an entry that was put before; one that is put at the same time stays.

        Removing what is not there is no error.  Raises as `AsyncKeyspace.put`.
        """
        self._check_policy()
        return await write(self._space, key, None, put_options(**settings), entry=checked_entry(entry))

    async def get(
        self, key: Key, *, r: Level | None = None, timeout: Seconds | None = None
    ) -> dict[bytes, bytes]:
        """The entries, sorted by name.  Raises as `AsyncKeyspace.get`, but not NotFound."""
        return entries_of(await self._values(key, r, timeout))
