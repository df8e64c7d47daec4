"""Limits of each caller's rate, and of what one gateway has under way.

Rates go by the time of the event loop, at all doors alike.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from ringmill.client.gateway.protection.rate_limits import SlidingWindow, TokenBucket

__all__ = ["CallerLimits", "Room", "SharedRoom", "WindowLimit"]

MOST_CALLERS: Final = 10_000


class _Limit(Protocol):
    def take(self, now: float) -> float: ...


Limit = TypeVar("Limit", bound=_Limit)


@dataclass(frozen=True, slots=True)
class WindowLimit:
    """At most `most` requests in any `window_s` seconds."""

    most: int
    window_s: float


class _ByCaller(Generic[Limit]):
    """A limit for each caller; those that were not heard of for the longest time are forgotten first."""

    def __init__(self, make: Callable[[], Limit]) -> None:
        self._make = make
        self._limits: OrderedDict[str, Limit] = OrderedDict()

    def take(self, caller: str, now: float) -> float:
        limit = self._limits.get(caller)
        if limit is None:
            limit = self._limits[caller] = self._make()
            if len(self._limits) > MOST_CALLERS:
                self._limits.popitem(last=False)
        self._limits.move_to_end(caller)
        return limit.take(now)


class CallerLimits:
    """What one caller may ask: a rate with bursts of its size, or a number in a window, or both.

    The doors of one gateway share it, so a caller that uses both has one allowance.
    """

    def __init__(self, rate_s: float | None = None, window: WindowLimit | None = None) -> None:
        """None is without a limit.  Raises InvalidArgument."""
        self._buckets: _ByCaller[TokenBucket] | None = None
        self._windows: _ByCaller[SlidingWindow] | None = None
        if rate_s is not None:
            burst = max(1.0, rate_s)
            TokenBucket(rate_s, burst)  # raises here, and not at the first request
            self._buckets = _ByCaller(lambda: TokenBucket(rate_s, burst))
        if window is not None:
            SlidingWindow(window.most, window.window_s)
            self._windows = _ByCaller(lambda: SlidingWindow(window.most, window.window_s))

    @property
    def are_none(self) -> bool:
        """Whether every caller may ask at any time."""
        return self._buckets is None and self._windows is None

    def take(self, caller: str) -> float:
        """0 when the caller may ask now, which is counted; else the seconds until it may."""
        if self.are_none:
            return 0.0
        now = asyncio.get_running_loop().time()
        wait_s = self._buckets.take(caller, now) if self._buckets is not None else 0.0
        if wait_s or self._windows is None:
            return wait_s
        return self._windows.take(caller, now)


class Room:
    """How much may be under way at a time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    def enter(self) -> bool:
        """Whether there was room for one more, which is counted then."""
        if self.taken >= self.most:
            return False
        self.taken += 1
        return True

    def leave(self) -> None:
        """One of those that have entered is over."""
        self.taken -= 1


class SharedRoom:
    """A room in which one caller has a share at most."""

    def __init__(self, most: int, share: int) -> None:
        self.most = most
        self.share = share
        self._room = Room(most)
        self._taken: dict[str, int] = {}

    @property
    def taken(self) -> int:
        """How much is under way now, of all callers."""
        return self._room.taken

    def enter(self, caller: str) -> bool:
        """Whether there was room for one more of this caller, which is counted then."""
        taken = self._taken.get(caller, 0)
        if taken >= self.share or not self._room.enter():
            return False
        self._taken[caller] = taken + 1
        return True

    def leave(self, caller: str) -> None:
        """One of this caller's is over."""
        self._room.leave()
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]
