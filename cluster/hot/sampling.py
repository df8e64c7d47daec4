"""Which operations are looked at, so that a busy node spends next to nothing on it, and an idle one sees all.

One of `every` operations is taken and stands for `every`.  The distance to the next one is drawn from 1 to
2 x every - 1, so that a workload with a period is not seen always at the same place.  The draws are a fixed
sequence of their own: nothing depends on them but what is shown.  Pure; times are seconds.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Sampler"]

_WINDOW_S: Final = 1.0
_MOST_EVERY: Final = 4096
_BURST: Final = 16
"""Operations that may be taken at once, whatever the time, before each is made to stand for twice as many."""
_MASK: Final = (1 << 64) - 1


class Sampler:
    """Takes about `per_s` operations a second, and all of them while there are fewer.

    What a burst after a pause costs is bounded too: it does not wait for the end of a window.
    """

    __slots__ = ("_allowed", "_draws", "_left", "_per_s", "_seen", "_since", "_taken", "every")

    def __init__(self, per_s: float, now: float) -> None:
        self._per_s = per_s
        self.every = 1
        """For how many operations one that is taken stands."""
        self._left = 1
        self._since = now
        self._allowed = _BURST
        self._taken = 0
        self._seen = 0
        self._draws = 1

    def passes(self) -> bool:
        """One more operation; whether it is to be taken.  Called for each operation: nothing else is."""
        self._left -= 1
        return self._left <= 0

    def take(self, now: float) -> int:
        """Take one, and return for how many it stands."""
        stands_for = self.every
        self._taken += 1
        self._seen += stands_for
        elapsed_s = now - self._since
        if elapsed_s >= _WINDOW_S:
            self._adapt(now)
        elif self._taken > self._allowed + self._per_s * elapsed_s:
            self._allowed += _BURST
            self.every = min(_MOST_EVERY, 2 * self.every)
        self._left = self._gap()
        return stands_for

    def settle(self, now: float) -> None:
        """Follow the rate of operations down where none has come for a while."""
        if now - self._since >= _WINDOW_S:
            self._adapt(now)
            self._left = min(self._left, self._gap())

    def _adapt(self, now: float) -> None:
        rate = self._seen / (now - self._since)
        self.every = min(_MOST_EVERY, max(1, round(rate / self._per_s)))
        self._since, self._allowed, self._taken, self._seen = now, _BURST, 0, 0

    def _gap(self) -> int:
        if self.every == 1:
            return 1
        self._draws = (self._draws * 6364136223846793005 + 1442695040888963407) & _MASK  # Knuth's MMIX
        return 1 + (self._draws >> 33) % (2 * self.every - 1)
