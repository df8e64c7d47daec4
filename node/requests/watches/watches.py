"""Watches: a call that waits until a key holds something that its caller has not seen.

A watch is a read that is made again: when an owner on this node applies a change of the key, and every few
seconds in any case, as this owner may miss a change, and a node that is no owner hears of none.  All who are
woken together and have seen the same share one read.  It has the callers' context as what their sessions have
seen, so that it never shows less (rules N1 to N3: docs/protocol/watches.md).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final

from ringmill.cluster.errors import DeadlineExceeded
from ringmill.cluster.ports import Clock
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.context_token import ContextSeal, ContextToken
from ringmill.cluster.wire.request_options import NOTHING_SEEN, ReadOptions, Seen
from ringmill.node.node_options import RequestOptions
from ringmill.node.replica.routes import Routes
from ringmill.node.replica.watching.waiters import Waiters
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.read import Reader
from ringmill.node.requests.request_limits import check_key, time_allowed
from ringmill.node.requests.request_values import ReadRequest, ReadResult, WatchRequest
from ringmill.node.requests.watches.held_watches import HeldWatches
from ringmill.node.requests.watches.shared_reads import SharedReads

__all__ = ["Watches"]

_SHORTEST_READ_S: Final = 0.05
_LONGEST_READ_S: Final = 5.0


class Watches:
    def __init__(
        self,
        *,
        routes: Routes,
        reader: Reader,
        waiters: Waiters,
        held: HeldWatches,
        clock: Clock,
        options: RequestOptions,
        seal: ContextSeal,
    ) -> None:
        self._routes = routes
        self._held = held
        self._reader = reader
        self._waiters = waiters
        self._clock = clock
        self._options = options
        self._seal = seal
        self._reads: SharedReads[ReadResult] = SharedReads(_LONGEST_READ_S)

    async def watch(self, request: WatchRequest) -> ReadResult | None:
        """What the key holds as soon as the caller has not seen all of it; None when time is up.

        Raises what Reader.read raises; Overloaded when too many wait already; Unavailable when the node
        stops: another one may go on with the same context.
        """
        check_key(request.key)
        deadline = Deadline.after(time_allowed(request.options.timeout_s, request.left_s), self._clock)
        route = await self._routes.by_name(request.keyspace, request.key, request.epoch, deadline.left_s)
        known = ContextToken()
        if request.after:
            known = self._seal.open(request.after, route.keyspace.id, request.key)
        key = route.place.stored_key
        with (
            self._held.holding(request.connection) as changed,
            self._waiters.waiting(key, changed.set),
        ):
            is_first = True
            while deadline.left_s > _SHORTEST_READ_S:
                changed.clear()
                try:
                    result = await self._shared_read(key, request, deadline)
                except DeadlineExceeded:
                    if is_first or deadline.left_s > _SHORTEST_READ_S:
                        raise
                    break  # it was asked for too late to be answered; a look before it found nothing
                is_first = False
                now = self._seal.open(result.context, route.keyspace.id, request.key)
                if not known.vector.covers_all(now.vector):
                    return result
                await self._wait(changed, deadline)
        return None

    async def _shared_read(self, key: bytes, request: WatchRequest, deadline: Deadline) -> ReadResult:
        what = (key, request.keyspace, request.options.level, request.epoch, request.after)
        left_s = min(_LONGEST_READ_S, deadline.left_s)
        return await self._reads.read(what, partial(self._read, request, deadline), left_s)

    async def _read(self, request: WatchRequest, deadline: Deadline) -> ReadResult:
        """What the key holds, and nothing that lacks what the caller has seen (rule N2)."""
        seen = Seen(request.after) if request.after else NOTHING_SEEN
        options = ReadOptions(request.options.level, 0.0, seen)
        return await self._reader.read(
            ReadRequest(
                request.keyspace, request.key, options, request.epoch, min(_LONGEST_READ_S, deadline.left_s)
            )
        )

    async def _wait(self, changed: asyncio.Event, deadline: Deadline) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(min(self._options.watch_again_s, deadline.left_s)):
                await changed.wait()
                sometimes("a watch is woken by a change")
        self._held.check()
