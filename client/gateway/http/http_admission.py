"""Which requests are let in: by the rate of their caller, and by what is under way already."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.gateway.protection.caller_limits import CallerLimits, SharedRoom
from ringmill.client.gateway.protection.read_cache import ReadCache
from ringmill.client.gateway.protection.shared_turns import SharedTurns

__all__ = ["HttpAdmission", "Slot", "room_of_requests"]

MOST_REQUESTS = 256
MOST_STREAMS = 500
MOST_BODIES = 256
BODIES_OF_ONE = 200
"""Bodies on their way of one caller: an address, or a token that nodes have confirmed."""
STREAMS_OF_ONE = 400
BATCHES_AT_ONCE = 4
"""Others wait: what each reads takes memory until it is told."""
BATCHES_OF_ONE = 2


def room_of_requests(most: int) -> SharedRoom:
    """A room for `most` requests, of which one caller may have 25 of 32: 200 of 256."""
    return SharedRoom(most, max(1, most * 25 // 32))


@dataclass(frozen=True, slots=True)
class HttpAdmission:
    """The limits of the HTTP door, and its cache of reads, if it has one.

    `callers` are those of all doors of the gateway.
    """

    callers: CallerLimits = field(default_factory=CallerLimits)
    requests: SharedRoom = field(default_factory=lambda: room_of_requests(MOST_REQUESTS))
    streams: SharedRoom = field(default_factory=lambda: SharedRoom(MOST_STREAMS, STREAMS_OF_ONE))
    bodies: SharedRoom = field(default_factory=lambda: SharedRoom(MOST_BODIES, BODIES_OF_ONE))
    cache: ReadCache | None = None
    batches: SharedTurns = field(default_factory=lambda: SharedTurns(BATCHES_AT_ONCE, BATCHES_OF_ONE))

    @property
    def rooms(self) -> Mapping[str, SharedRoom]:
        """What may be under way at a time, by name."""
        return {
            "requests": self.requests,
            "streams": self.streams,
            "bodies": self.bodies,
            "batches": self.batches.room,
        }

    def check_rate(self, caller: str) -> None:
        """Raises HttpRefusal 429 when this caller asks too often."""
        if wait_s := self.callers.take(caller):
            raise HttpRefusal(
                429, "RATE_LIMITED", f"too many requests; the next one may come in {wait_s:.1f} s",
                headers={"Retry-After": str(math.ceil(wait_s))}, detail={"retry_after": round(wait_s, 3)},
            )  # fmt: skip


class Slot:
    """The place of one request among those that are under way, or of a stream among the streams."""

    def __init__(self, admission: HttpAdmission, caller: str, *, is_late: bool = False) -> None:
        """`caller` is whose share of the requests, bodies, streams and batches it takes.  A late one has no
        place before `take_place`."""
        self._rooms = admission
        self.caller = caller
        self._is_in = False  # among the requests
        self._is_a_stream = False
        self._is_late = is_late
        self._users = 0
        self._at_end: list[Callable[[], None]] = []

    def __enter__(self) -> Slot:
        """Raises HttpRefusal 503 when there is no room."""
        if not self._is_late:
            self._enter()
        self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def take_place(self) -> None:
        """Have a place among the requests: the cluster is asked now.  Raises HttpRefusal 503."""
        if not self._is_in:
            self._enter()

    @asynccontextmanager
    async def batch_turn(self, within_s: float) -> AsyncIterator[None]:
        """To be held while a batch is done.  One that waits for it has a place among the bodies, and none
        among the requests.

        Raises HttpRefusal 503 when there is no turn in time, or no room.
        """
        batches = self._rooms.batches
        is_taken = batches.take_at_once(self.caller)
        try:
            with nullcontext() if is_taken else self.while_a_body_comes():
                is_taken = is_taken or await batches.take(self.caller, within_s)
            if not is_taken:
                raise _busy(f"does {BATCHES_AT_ONCE} batches at a time, {BATCHES_OF_ONE} of one caller")
            yield
        finally:
            if is_taken:
                batches.leave(self.caller)

    def stays_for(self, work: asyncio.Task[Any]) -> None:
        """The place is taken until this has ended too: it goes on when the caller hangs up."""
        self._users += 1
        work.add_done_callback(self._leave)

    def at_end(self, do: Callable[[], None]) -> None:
        """Done when the place is free, also for what goes on when the caller hangs up."""
        self._at_end.append(do)

    @contextmanager
    def while_a_body_comes(self) -> Iterator[None]:
        """A caller that sends its body slowly, or not at all, has no place among the requests meanwhile.

        Raises HttpRefusal 503 when too many bodies are on their way, and afterwards when there are too many
        requests.
        """
        bodies, was_in = self._rooms.bodies, self._is_in
        if not bodies.enter(self.caller):
            raise _busy(f"has bodies of other requests on their way, {bodies.share} of one caller at most")
        self._leave_requests()
        try:
            yield
        finally:
            bodies.leave(self.caller)
        if was_in:
            self._enter()

    def becomes_a_stream(self) -> None:
        """The request goes on until its caller leaves it, so it is counted as such.  Raises HttpRefusal
        503."""
        streams = self._rooms.streams
        if self._is_a_stream:
            return
        if not streams.enter(self.caller):
            raise _busy(f"has its streams under way, {streams.share} of one caller at most")
        self._is_a_stream = True
        self._leave_requests()

    def _leave(self, _: object = None) -> None:
        self._users -= 1
        if self._users:
            return
        self._leave_requests()
        if self._is_a_stream:
            self._rooms.streams.leave(self.caller)
        for do in self._at_end:
            do()

    def _enter(self) -> None:
        requests = self._rooms.requests
        if not requests.enter(self.caller):
            raise _busy(f"has {requests.taken} requests under way, {requests.share} of one caller at most")
        self._is_in = True

    def _leave_requests(self) -> None:
        if self._is_in:
            self._rooms.requests.leave(self.caller)
        self._is_in = False


def _busy(why: str) -> HttpRefusal:
    text = f"this gateway {why}, and takes no more"
    return HttpRefusal(503, "BUSY", text, headers={"Retry-After": "1"})
