"""The feed of changes: which objects were changed on this node, in their order, for those who ask.

A place in it names this start of the node and a number; who hands in a place is told of every key that was
changed here since.  The feed is in memory, runs while somebody asks, and is bounded: a place that it does not
reach back to is lost, and its holder has to look at all keys again (rule N4: docs/protocol/watches.md).
What a move brings to this node is not noted key by key, as it may be all that the node holds: it would push
out what has changed.  Instead all places are lost once the moves are over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from typing import Final, NamedTuple

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ports import Clock
from ringmill.node.replica.stored_key import COPY_PREFIX_BYTES
from ringmill.node.replica.watching.changed_keys import ChangedKeys
from ringmill.node.replica.watching.feed_waiters import FeedWaiter, FeedWaiters

__all__ = ["ChangeFeed", "FeedNews", "FeedPlace"]

MOST_BYTES: Final = 8 << 20
_KEPT_S: Final = 120.0
"""Without a question for this long the feed ends: longer than a client pauses that goes on elsewhere."""

_FEW: Final = 64
"""Who has no more changes to look through takes no turn: who was woken has one."""

_REST_S: Final = 0.001
_TURNS: Final = 8
"""From one rest to the next; each judges a page of keys, which takes about half a millisecond."""


class FeedPlace(NamedTuple):
    """`feed` is empty before the first answer."""

    feed: bytes = b""
    number: int = 0


class FeedNews(NamedTuple):
    """Stored keys, each once; `place` is behind all of them, and before all that was not looked at."""

    keys: tuple[bytes, ...]
    place: FeedPlace
    is_lost: bool = False


class ChangeFeed:
    """By the number of its last change, each key.  While it is off, a write pays for one look at `is_on`."""

    def __init__(self, boot: str, clock: Clock, *, most_keys: int) -> None:
        self.is_on = False
        self._boot = boot
        self._clock = clock
        self._most_keys = most_keys
        self._begun = 0
        self._number = 0
        self._forgotten = 0  # the highest number that is gone
        self._changed = ChangedKeys()
        self._turn = asyncio.Lock()  # one reads a page at a time, and those that wait are next
        self._turns = 0
        self._asked_at = 0.0
        self._waiting = FeedWaiters()
        self._is_over = False
        self._is_bringing = False
        self._has_brought = False  # since the feed began, or places were lost for it

    @contextmanager
    def bringing(self) -> Iterator[None]:
        """What changes within this step is what a move brings here."""
        self._is_bringing = True
        try:
            yield
        finally:
            self._is_bringing = False

    def note_brought(self) -> None:
        """A move has brought keys here."""
        self._has_brought = self.is_on

    def all_is_brought(self) -> None:
        """The moves to this node are over: whoever asks looks at all keys once, if some were brought."""
        if self._has_brought:
            self._has_brought = False
            self._number += 1
            self._forget_all()
            self._lose_all()

    def note(self, keys: Iterable[bytes]) -> None:
        """These keys have changed, in the step that made it visible."""
        if not self._waiting and self._clock.monotonic() - self._asked_at > _KEPT_S:
            self._stop()
            return
        if self._is_bringing:
            self._has_brought = True
            return
        woken: dict[FeedWaiter, int] = {}
        for key in keys:
            self._number += 1
            self._changed.note(key, self._number)
            for waiter in self._waiting.of(key[COPY_PREFIX_BYTES:]):
                woken.setdefault(waiter, self._number)
        while len(self._changed) > self._most_keys or self._changed.size_bytes > MOST_BYTES:
            self._forgotten = self._changed.forget_oldest()
        for waiter in sorted(woken, key=lambda each: each.number):
            waiter.wake(woken[waiter])

    async def after(
        self, place: FeedPlace, beginning: bytes, most: int, within_s: float, left_s: float = inf
    ) -> FeedNews:
        """What has changed since, as soon as there is any of it; nothing when time is up.

        It tells of keys that begin so behind the prefix of their copy.  Who waits is woken for these alone,
        and its place goes on past all others without a look at them.  A place that is lost is told at once,
        with the present one.  Where there is much to look through it ends after `left_s`, with what it has
        found and the place that it has come to.  Raises Unavailable when the node stops.
        """
        began = self._clock.monotonic()
        over = began + left_s
        until = min(began + within_s, over)  # its place would pass what was not looked through
        self._begin()
        waiter = self._waiting.add(beginning)
        try:
            while True:
                waiter.look()
                news = await self._since(place, beginning, most, over)
                waits_s = until - self._clock.monotonic()
                if news.keys or news.is_lost or waits_s <= 0:
                    return news
                if self._is_over:
                    raise Unavailable("the node is stopping", hint="ask again after its start")
                with suppress(TimeoutError):
                    async with asyncio.timeout(waits_s):
                        await waiter.woken.wait()
                place = self._passed(news.place, waiter)
        finally:
            self._waiting.remove(waiter, beginning)
            self._asked_at = self._clock.monotonic()

    def end(self) -> None:
        """The node stops: nobody waits here any more."""
        self._is_over = True
        self._lose_all()

    def _lose_all(self) -> None:
        for waiter in self._waiting:
            waiter.lose()

    def _passed(self, place: FeedPlace, waiter: FeedWaiter) -> FeedPlace:
        """As far as nothing came that the waiter waits for."""
        if waiter.is_lost or place.feed != self._name:
            return place
        return place._replace(number=self._number if waiter.before is None else waiter.before)

    @property
    def _name(self) -> bytes:
        return f"{self._boot}.{self._begun}".encode()

    def _begin(self) -> None:
        if not self.is_on:
            self.is_on = True
            self._begun += 1
            self._forgotten = self._number

    def _stop(self) -> None:
        self.is_on = self._has_brought = False
        self._forget_all()

    def _forget_all(self) -> None:
        self._forgotten = self._number
        self._changed.clear()

    async def _since(self, place: FeedPlace, beginning: bytes, most: int, over: float) -> FeedNews:
        """In turns of the loop, as there may be many.  A key that changes meanwhile is told the next time."""
        newest = self._number
        if place.number > newest:
            return self._lost()
        found: list[bytes] = []
        while True:
            if self._has_lost(place):
                return self._lost()
            left = newest - place.number
            if not left or len(found) == most or self._clock.monotonic() > over:
                return FeedNews(tuple(found), place)
            if left <= _FEW:
                place = self._judge(place, newest, beginning, most, found)
                continue
            if await self._has_turn(over):
                try:
                    if not self._has_lost(place):
                        place = self._judge(place, newest, beginning, most, found)
                        self._turns += 1
                        await asyncio.sleep(0 if self._turns % _TURNS else _REST_S)
                finally:
                    self._turn.release()

    async def _has_turn(self, over: float) -> bool:
        """Wait for the turn, which the caller has to release, and no longer than until `over`."""
        left_s = over - self._clock.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if left_s == inf else left_s):
                await self._turn.acquire()
                return True
        return False

    def _judge(
        self, place: FeedPlace, newest: int, beginning: bytes, most: int, found: list[bytes]
    ) -> FeedPlace:
        """Look through a page behind `place`; returns how far that is, `newest` when nothing is left."""
        page = self._changed.behind(place.number)
        for number, key in page:
            if number > newest:
                break
            if _begins(key, beginning):
                found.append(key)
                if len(found) == most:
                    return place._replace(number=number)
        return place._replace(number=min(page[-1][0], newest) if page else newest)

    def _has_lost(self, place: FeedPlace) -> bool:
        return place.feed != self._name or place.number < self._forgotten

    def _lost(self) -> FeedNews:
        return FeedNews((), FeedPlace(self._name, self._number), is_lost=True)


def _begins(stored: bytes, beginning: bytes) -> bool:
    return stored.startswith(beginning, COPY_PREFIX_BYTES)
