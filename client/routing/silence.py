"""Notices that a node has fallen silent while requests to it are under way.

A process that was stopped keeps its connections: they look well, and nothing comes.  So one timer looks at
all addresses with requests under way.  An address from which nothing has come for `ASK_AFTER_S` is asked a
small question, because a slow request alone is no silence.  After `SILENT_AFTER_S` the address is blamed, and
each request there is told: it may be sent again elsewhere, as a further attempt.  When this process itself
was held up, the time counts from then on.  Rules W4 and W5: docs/protocol/writes.md.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from ringmill.client.routing.directory import Directory
from ringmill.cluster.errors import RingmillError, Unavailable
from ringmill.cluster.sometimes import sometimes

__all__ = ["SILENT_AFTER_S", "SilenceWatch", "Watched"]

SILENT_AFTER_S: Final = 0.15
ASK_AFTER_S: Final = 0.05
LOOK_EVERY_S: Final = 0.05


class Watched(Protocol):
    """A request under way.  `begun_at` is on the loop's clock."""

    begun_at: float

    def silent(self, error: RingmillError) -> None:
        """Told at most once, and not after its end: its node is silent; outcome unknown."""
        ...


class SilenceWatch:
    """The requests under way of one client, by address.  It has a timer only while there are any."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._under_way: dict[str, dict[Watched, None]] = {}
        self._look_at: float | None = None
        self._awake_since = 0.0

    def begin(self, address: str, request: Watched) -> None:
        """A request is being sent to an address; its `begun_at` is now."""
        requests = self._under_way.get(address)
        if requests is None:
            requests = self._under_way[address] = {}
        requests[request] = None
        if self._look_at is None:
            self._look_later(request.begun_at)

    def end(self, address: str, request: Watched) -> None:
        """It has ended; one that was silent may be told of again."""
        requests = self._under_way.get(address)
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
        for address, requests in list(self._under_way.items()):
            if not requests:
                del self._under_way[address]
                continue
            oldest = next(iter(requests))
            heard_at = max(self._directory.answered_at(address), oldest.begun_at, self._awake_since)
            if now - heard_at >= SILENT_AFTER_S:
                self._fall_silent(address, now - heard_at)
            elif now - heard_at >= ASK_AFTER_S:
                self._directory.inquire(address)
        if self._under_way and not self._directory.lifetime.is_closed:
            self._look_later(now)

    def _fall_silent(self, address: str, quiet_s: float) -> None:
        sometimes("a client finds a node silent with requests under way")
        self._directory.blame(address)
        for request in self._under_way.pop(address):
            request.silent(
                Unavailable(
                    f"{address} has been silent for {quiet_s:.2f} s",
                    detail={"address": address},
                    outcome="unknown",
                )
            )
