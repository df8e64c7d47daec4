"""The watches that wait on this node: how many there may be, and their end when the node stops (rule N3)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ringmill.cluster.errors import Overloaded, Unavailable
from ringmill.node.node_options import RequestOptions

__all__ = ["HeldWatches"]


class HeldWatches:
    """Each has an event that ends its wait; `check` tells it then whether the node stops."""

    def __init__(self, options: RequestOptions) -> None:
        self._options = options
        self._held: dict[asyncio.Event, str] = {}
        self._by_connection: Counter[str] = Counter()
        self._is_over = False

    def __len__(self) -> int:
        return len(self._held)

    @contextmanager
    def holding(self, connection: str) -> Iterator[asyncio.Event]:
        """One more.  Raises Overloaded when there are too many, on the node or for this connection."""
        self.check()
        self._admit(connection)
        woken = asyncio.Event()
        self._held[woken] = connection
        self._by_connection[connection] += 1
        try:
            yield woken
        finally:
            del self._held[woken]
            self._by_connection[connection] -= 1
            if not self._by_connection[connection]:
                del self._by_connection[connection]

    def check(self) -> None:
        """Raises Unavailable when the node stops: another one may go on with the same cursor."""
        if self._is_over:
            raise Unavailable("the node is stopping", hint="watch at another node, with the same cursor")

    def end(self) -> None:
        """The node stops: all that wait are told so, and none is taken any more."""
        self._is_over = True
        for woken in self._held:
            woken.set()

    def _admit(self, connection: str) -> None:
        options = self._options
        if len(self._held) >= options.watches:
            raise _too_many(f"{len(self._held)} watches wait on this node, the limit is {options.watches}")
        if self._by_connection[connection] >= options.watches_of_a_connection:
            raise _too_many(
                f"{self._by_connection[connection]} watches wait for this connection, "
                f"the limit is {options.watches_of_a_connection}"
            )


def _too_many(why: str) -> Overloaded:
    return Overloaded(why, detail={"retry_after": 1.0}, hint="watch fewer keys at a time, or poll with get")
