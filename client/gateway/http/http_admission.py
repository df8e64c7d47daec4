"""Which requests are let in: by the rate of their caller, and by what is under way already."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.gateway.protection.caller_limits import CallerLimits, Room
from ringmill.client.gateway.protection.read_cache import ReadCache

__all__ = ["HttpAdmission", "Slot"]

MOST_REQUESTS = 256
MOST_STREAMS = 500


@dataclass(frozen=True, slots=True)
class HttpAdmission:
    """The limits of one gateway, and its cache of reads, if it has one."""

    callers: CallerLimits = field(default_factory=CallerLimits)
    requests: Room = field(default_factory=lambda: Room(MOST_REQUESTS))
    streams: Room = field(default_factory=lambda: Room(MOST_STREAMS))
    cache: ReadCache | None = None

    def check_rate(self, caller: str) -> None:
        """Raises HttpRefusal 429 when this caller asks too often."""
        if self.callers.are_none:
            return
        wait_s = self.callers.take(caller, asyncio.get_running_loop().time())
        if wait_s:
            raise HttpRefusal(
                429, "RATE_LIMITED", f"too many requests; the next one may come in {wait_s:.1f} s",
                headers={"Retry-After": str(math.ceil(wait_s))}, detail={"retry_after": round(wait_s, 3)},
            )  # fmt: skip


class Slot:
    """The place of one request among those that are under way, or of a stream among the streams."""

    def __init__(self, admission: HttpAdmission) -> None:
        self._rooms = admission
        self._in: Room | None = None

    def __enter__(self) -> Slot:
        """Raises HttpRefusal 503 when there is no room."""
        self._enter(self._rooms.requests, "requests")
        return self

    def __exit__(self, *_: object) -> None:
        if self._in is not None:
            self._in.leave()

    def becomes_a_stream(self) -> None:
        """It goes on until its caller leaves it, so it is counted as such.  Raises HttpRefusal 503."""
        former = self._in
        self._enter(self._rooms.streams, "streams")
        if former is not None:
            former.leave()

    def _enter(self, room: Room, what: str) -> None:
        if not room.enter():
            raise HttpRefusal(
                503, "BUSY", f"this gateway has {room.most} {what} under way, and takes no more",
                headers={"Retry-After": "1"},
            )  # fmt: skip
        self._in = room
