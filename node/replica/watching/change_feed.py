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
from typing import Final, NamedTuple

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ports import Clock
from ringmill.node.replica.stored_key import COPY_PREFIX_BYTES
from ringmill.node.replica.watching.feed_waiters import FeedWaiter, FeedWaiters

__all__ = ["ChangeFeed", "FeedNews", "FeedPlace"]

MOST_BYTES: Final = 8 << 20
_KEPT_S: Final = 120.0
"""Without a question for this long the feed ends: longer than a client pauses that goes on elsewhere."""

_TURN: Final = 1024
"""Keys judged in one turn of the loop: about a millisecond."""


class FeedPlace(NamedTuple):
    """`feed` is empty before the first answer."""

    feed: bytes = b""
    number: int = 0


class FeedNews(NamedTuple):
    """Stored keys, each once; `place` is behind all of them."""

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
        self._last: dict[bytes, int] = {}  # the key changed last is at the end
        self._size_bytes = 0
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
            if self._last.pop(key, None) is None:
                self._size_bytes += len(key)
            self._last[key] = self._number
            for waiter in self._waiting.of(key[COPY_PREFIX_BYTES:]):
                woken.setdefault(waiter, self._number)
        while len(self._last) > self._most_keys or self._size_bytes > MOST_BYTES:
            oldest = next(iter(self._last))
            self._forgotten = self._last.pop(oldest)
            self._size_bytes -= len(oldest)
        for waiter in sorted(woken, key=lambda each: each.number):
            waiter.wake(woken[waiter])

    async def after(self, place: FeedPlace, beginning: bytes, most: int, within_s: float) -> FeedNews:
        """What has changed since, as soon as there is any of it; nothing when time is up.

        It tells of keys that begin so behind the prefix of their copy.  Who waits is woken for these alone,
        and its place goes on past all others without a look at them.  A place that is lost is told at once,
        with the present one.  Raises Unavailable when the node stops.
        """
        until = self._clock.monotonic() + within_s
        self._begin()
        waiter = self._waiting.add(beginning)
        try:
            while True:
                waiter.look()
                news = await self._since(place, beginning, most)
                left_s = until - self._clock.monotonic()
                if news.keys or news.is_lost or left_s <= 0:
                    return news
                if self._is_over:
                    raise Unavailable("the node is stopping", hint="ask again after its start")
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
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
        self._last.clear()
        self._size_bytes = 0

    async def _since(self, place: FeedPlace, beginning: bytes, most: int) -> FeedNews:
        """In turns of the loop, as there may be many.  A key that changes meanwhile is told again."""
        name = self._name
        if place.feed != name or not self._forgotten <= place.number <= self._number:
            return FeedNews((), FeedPlace(name, self._number), is_lost=True)
        newest = self._number
        changed: list[tuple[bytes, int]] = []
        for key in reversed(self._last):
            number = self._last[key]
            if number <= place.number:
                break
            changed.append((key, number))
        found: list[bytes] = []
        for judged, (key, number) in enumerate(reversed(changed), 1):
            if _begins(key, beginning):
                found.append(key)
                if len(found) == most:
                    newest = number
                    break
            if judged % _TURN == 0:
                await asyncio.sleep(0)
        return FeedNews(tuple(found), FeedPlace(name, newest))


def _begins(stored: bytes, beginning: bytes) -> bool:
    return stored.startswith(beginning, COPY_PREFIX_BYTES)
