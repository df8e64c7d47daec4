"""Limits of a rate: a token bucket and a sliding window.

Pure: the time is passed in, in seconds of any clock that does not go back.  `ringmill.TokenBucket` and
`ringmill.SlidingWindow` are for programs, too; they count within one process.
"""

from __future__ import annotations

from collections import deque

from ringmill.cluster.errors import InvalidArgument

__all__ = ["SlidingWindow", "TokenBucket"]


class TokenBucket:
    """Lets `rate_s` a second pass in the long run, and up to `burst` at once.

    The bucket is full at first.  In any span of t seconds at most burst + rate_s x t pass.
    """

    __slots__ = ("_at", "_tokens", "burst", "rate_s")

    def __init__(self, rate_s: float, burst: float) -> None:
        """Raises InvalidArgument unless the rate is above 0 and the burst at least 1."""
        if not (0 < rate_s < float("inf")) or not (1 <= burst < float("inf")):
            raise InvalidArgument(f"a rate of {rate_s} with a burst of {burst}; need above 0, and at least 1")
        self.rate_s = rate_s
        self.burst = burst
        self._tokens = burst
        self._at: float | None = None

    def take(self, now: float, amount: float = 1.0) -> float:
        """0 when `amount` may pass, and it is taken; else nothing is, and these seconds have to pass first.

        An amount above the burst never passes; the wait is infinite then.
        """
        if self._at is not None:
            self._tokens = min(self.burst, self._tokens + max(0.0, now - self._at) * self.rate_s)
        self._at = now if self._at is None else max(now, self._at)
        if amount > self.burst:
            return float("inf")
        if amount <= self._tokens:
            self._tokens -= amount
            return 0.0
        return (amount - self._tokens) / self.rate_s


class SlidingWindow:
    """Lets at most `most` pass in any span of `window_s` seconds, wherever it begins."""

    __slots__ = ("_passed", "most", "window_s")

    def __init__(self, most: int, window_s: float) -> None:
        """Raises InvalidArgument unless both are above 0."""
        if most < 1 or not (0 < window_s < float("inf")):
            raise InvalidArgument(f"{most} in a window of {window_s} s; need at least 1, and above 0")
        self.most = most
        self.window_s = window_s
        self._passed: deque[float] = deque()

    def take(self, now: float) -> float:
        """0 when one more may pass, and it is counted; else it is not, and these seconds have to pass."""
        self._forget(now)
        if len(self._passed) < self.most:
            self._passed.append(max(now, self._passed[-1]) if self._passed else now)
            return 0.0
        return self._passed[0] + self.window_s - now

    def _forget(self, now: float) -> None:
        while self._passed and self._passed[0] + self.window_s <= now:
            self._passed.popleft()
