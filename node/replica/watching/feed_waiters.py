"""Who waits for changes of this node, by how the keys begin that each waits for.

A change finds those that it concerns by the beginnings of its key, so it costs as much as there are lengths
of them in its keyspace, and not as there are waiters.

Rule N4: docs/protocol/watches.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

from ringmill.node.replica.stored_key import KEYSPACE_PREFIX_BYTES

__all__ = ["FeedWaiter", "FeedWaiters"]


class FeedWaiter:
    """`before` is the number before the first change that it was woken for, or None."""

    __slots__ = ("before", "is_lost", "number", "woken")

    def __init__(self, number: int) -> None:
        self.number = number  # in the order of asking
        self.woken = asyncio.Event()
        self.before: int | None = None
        self.is_lost = False

    def look(self) -> None:
        """It looks at what there is now, and is woken for what comes from now on."""
        self.woken.clear()
        self.before, self.is_lost = None, False

    def wake(self, number: int) -> None:
        """For the change of this number."""
        if self.before is None:
            self.before = number - 1
        self.woken.set()

    def lose(self) -> None:
        """It has to look from where it was."""
        self.is_lost = True
        self.woken.set()


class FeedWaiters:
    def __init__(self) -> None:
        self._waiters: dict[FeedWaiter, None] = {}  # in the order of asking, so that a seed gives one run
        self._by_keyspace: dict[bytes, _OfKeyspace] = {}  # shorter beginnings are at b""
        self._asked = 0

    def __bool__(self) -> bool:
        return bool(self._waiters)

    def __iter__(self) -> Iterator[FeedWaiter]:
        return iter(self._waiters)

    def add(self, beginning: bytes) -> FeedWaiter:
        """One more, for keys that begin so."""
        self._asked += 1
        waiter = FeedWaiter(self._asked)
        self._waiters[waiter] = None
        self._by_keyspace.setdefault(_keyspace(beginning), _OfKeyspace()).add(waiter, beginning)
        return waiter

    def remove(self, waiter: FeedWaiter, beginning: bytes) -> None:
        """It waits no longer."""
        del self._waiters[waiter]
        keyspace = _keyspace(beginning)
        left = self._by_keyspace[keyspace]
        left.remove(waiter, beginning)
        if not left.lengths:
            del self._by_keyspace[keyspace]

    def of(self, key: bytes) -> Iterator[FeedWaiter]:
        """Those that wait for a key like this."""
        for keyspace in {b"": None, _keyspace(key): None}:
            if (waiters := self._by_keyspace.get(keyspace)) is not None:
                yield from waiters.of(key)


class _OfKeyspace:
    def __init__(self) -> None:
        self._by_beginning: dict[bytes, dict[FeedWaiter, None]] = {}
        self.lengths: Counter[int] = Counter()

    def add(self, waiter: FeedWaiter, beginning: bytes) -> None:
        if beginning not in self._by_beginning:
            self._by_beginning[beginning] = {}
            self.lengths[len(beginning)] += 1
        self._by_beginning[beginning][waiter] = None

    def remove(self, waiter: FeedWaiter, beginning: bytes) -> None:
        left = self._by_beginning[beginning]
        del left[waiter]
        if not left:
            del self._by_beginning[beginning]
            self.lengths[len(beginning)] -= 1
            if not self.lengths[len(beginning)]:
                del self.lengths[len(beginning)]

    def of(self, key: bytes) -> Iterator[FeedWaiter]:
        for length in self.lengths:
            if length <= len(key):
                yield from self._by_beginning.get(key[:length], ())


def _keyspace(beginning: bytes) -> bytes:
    """With what names its keyspace each beginning begins, behind the prefix of a copy."""
    return beginning[:KEYSPACE_PREFIX_BYTES] if len(beginning) >= KEYSPACE_PREFIX_BYTES else b""
