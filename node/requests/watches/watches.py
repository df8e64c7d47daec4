"""Watches: a call that waits until a key holds something that its caller has not seen.

A watch is a read that is made again: when an owner on this node applies a change of the key, and every few
seconds in any case, as this owner may miss a change, and a node that is no owner hears of none.  The read has
the caller's context as what its session has seen, so that it never shows less (rules N1 to N3:
docs/protocol/watches.md).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from ringmill.cluster.errors import Overloaded, Unavailable
from ringmill.cluster.ports import Clock
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.context_token import ContextToken, decode_context
from ringmill.cluster.wire.request_options import NOTHING_SEEN, ReadOptions, Seen
from ringmill.node.node_options import RequestOptions
from ringmill.node.replica.routes import Route, Routes
from ringmill.node.replica.watching.waiters import Waiters
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.read import Reader
from ringmill.node.requests.request_limits import check_key, time_allowed
from ringmill.node.requests.request_values import ReadRequest, ReadResult, WatchRequest

__all__ = ["Watches"]

_SHORTEST_READ_S: Final = 0.05


class Watches:
    def __init__(
        self, *, routes: Routes, reader: Reader, waiters: Waiters, clock: Clock, options: RequestOptions
    ) -> None:
        self._routes = routes
        self._reader = reader
        self._waiters = waiters
        self._clock = clock
        self._options = options
        self._held: dict[asyncio.Event, str] = {}
        self._by_connection: Counter[str] = Counter()
        self._is_over = False

    async def watch(self, request: WatchRequest) -> ReadResult | None:
        """What the key holds as soon as the caller has not seen all of it; None when time is up.

        Raises what Reader.read raises; Overloaded when too many wait already; Unavailable when the node
        stops: another one may go on with the same context.
        """
        check_key(request.key)
        deadline = Deadline.after(time_allowed(request.options.timeout_s, request.left_s), self._clock)
        route = await self._routes.by_name(request.keyspace, request.key, request.epoch)
        known = ContextToken()
        if request.after:
            known = decode_context(request.after, route.keyspace.id, request.key)
        with self._holding(request, route) as changed:
            while deadline.left_s > _SHORTEST_READ_S:
                changed.clear()
                result = await self._read(request, deadline)
                now = decode_context(result.context, route.keyspace.id, request.key)
                if not known.vector.covers_all(now.vector):
                    return result
                await self._wait(changed, deadline)
        return None

    def end(self) -> None:
        """The node stops: all that wait are told so, and none is taken any more."""
        self._is_over = True
        for changed in self._held:
            changed.set()

    async def _read(self, request: WatchRequest, deadline: Deadline) -> ReadResult:
        """What the key holds, and nothing that lacks what the caller has seen (rule N2)."""
        seen = Seen(request.after) if request.after else NOTHING_SEEN
        options = ReadOptions(request.options.level, 0.0, seen)
        return await self._reader.read(
            ReadRequest(request.keyspace, request.key, options, request.epoch, min(5.0, deadline.left_s))
        )

    async def _wait(self, changed: asyncio.Event, deadline: Deadline) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(min(self._options.watch_again_s, deadline.left_s)):
                await changed.wait()
                sometimes("a watch is woken by a change")
        if self._is_over:
            raise _stopping()

    @contextmanager
    def _holding(self, request: WatchRequest, route: Route) -> Iterator[asyncio.Event]:
        """Wait for changes of the key, within the limits."""
        if self._is_over:
            raise _stopping()
        self._admit(request.connection)
        changed = asyncio.Event()
        self._held[changed] = request.connection
        self._by_connection[request.connection] += 1
        try:
            with self._waiters.waiting(route.place.stored_key, changed.set):
                yield changed
        finally:
            del self._held[changed]
            self._by_connection[request.connection] -= 1
            if not self._by_connection[request.connection]:
                del self._by_connection[request.connection]

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


def _stopping() -> Unavailable:
    return Unavailable("the node is stopping", hint="watch at another node, with the same context")
