"""Notices that a node has fallen silent while requests to it are under way.

A process that was stopped keeps its connections: they look well, and nothing comes.  So one timer looks at
all nodes with requests under way.  A node from which nothing has come for `ASK_AFTER_S` is asked a small
question, because a slow request alone is not silence.  After `SILENT_AFTER_S` it counts as silent, and each
request there is told: it may be sent again elsewhere, as a further attempt.  A request that takes longer than
it says is told, too, whatever else its node answers.  When this process itself was held up, the time counts
from then on.  Clients watch the addresses that they ask, and nodes the owners that they forward to.

Rules W4 and W5: docs/protocol/writes.md; D1: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from typing import Final, Protocol

from ringmill.cluster.callbacks import call_guarded
from ringmill.cluster.errors import RingmillError, Unavailable

__all__ = ["SILENT_AFTER_S", "Inquiring", "SilenceWatch", "Watched"]

SILENT_AFTER_S: Final = 0.15
ASK_AFTER_S: Final = 0.05
LOOK_EVERY_S: Final = 0.05


class Watched(Protocol):
    """A request under way.  `begun_at` is on the loop's clock, and so is `slow_at`: when it is told that it
    is slow; infinity for never."""

    begun_at: float
    slow_at: float

    def silent(self, error: RingmillError) -> None:
        """Its node is silent, outcome unknown.  Called at most once, and not after the end of the request."""
        ...

    def slow(self) -> None:
        """Its node has not answered it until `slow_at`.  Called at most once, and not after its end."""
        ...


class Inquiring(Protocol):
    """What is known of those that are asked, each by its name: an address, or the id of a node."""

    @property
    def is_over(self) -> bool:
        """Nobody asks anything any more."""
        ...

    def answered_at(self, name: str) -> float:
        """When it answered last, on the loop's clock; 0 when it never did."""
        ...

    def inquire(self, name: str) -> object:
        """Have a small question under way to it, one at a time."""
        ...

    def fell_silent(self, name: str) -> None:
        """It has requests under way, and nothing comes."""
        ...


class SilenceWatch:
    """The requests under way of one process, by whom they went to.  It has a timer only while there are
    any."""

    def __init__(self, inquiring: Inquiring) -> None:
        self._inquiring = inquiring
        self._under_way: dict[str, dict[Watched, None]] = {}
        self._look_at: float | None = None
        self._awake_since = 0.0

    def begin(self, name: str, request: Watched) -> None:
        """A request is being sent there; its `begun_at` is now."""
        requests = self._under_way.get(name)
        if requests is None:
            requests = self._under_way[name] = {}
        requests[request] = None
        if self._look_at is None:
            self._look_later(request.begun_at)

    def end(self, name: str, request: Watched, outcome: object = None) -> None:
        """It has ended, with this answer or error if any; one that was silent may be told of again."""
        requests = self._under_way.get(name)
        if requests is not None:
            requests.pop(request, None)

    def _look_later(self, now: float) -> None:
        self._look_at = now + LOOK_EVERY_S
        asyncio.get_running_loop().call_at(self._look_at, self._look)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._look_at is not None and now > self._look_at + LOOK_EVERY_S:
            self._awake_since = now  # answers may have come meanwhile, and are taken in after this
        self._look_at = None
        for name, requests in list(self._under_way.items()):
            if requests:
                call_guarded(self._look_at_one, name, requests, now)  # a bug of one ends no other's watch
            else:
                del self._under_way[name]
        if self._under_way and not self._inquiring.is_over:
            self._look_later(now)

    def _look_at_one(self, name: str, requests: Iterable[Watched], now: float) -> None:
        oldest = next(iter(requests))
        heard_at = max(self._inquiring.answered_at(name), oldest.begun_at, self._awake_since)
        if now - heard_at >= SILENT_AFTER_S:
            self._fall_silent(name, now - heard_at)
            return
        if now - heard_at >= ASK_AFTER_S:
            self._inquiring.inquire(name)
        if now >= self._awake_since + ASK_AFTER_S:
            _tell_slow(requests, now)

    def _fall_silent(self, name: str, quiet_s: float) -> None:
        self._inquiring.fell_silent(name)
        for request in self._under_way.pop(name):
            error = Unavailable(
                f"{name} has been silent for {quiet_s:.2f} s", detail={"address": name}, outcome="unknown"
            )
            call_guarded(request.silent, error)


def _tell_slow(requests: Iterable[Watched], now: float) -> None:
    for request in [each for each in requests if each.slow_at <= now]:
        request.slow_at = math.inf
        call_guarded(request.slow)
