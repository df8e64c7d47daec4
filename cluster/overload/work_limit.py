"""How much work a node has under way at a time, and how long a queue it allows before it refuses.

Pure: times and costs in, numbers out; cluster/overload/gate.py acts.  Cost is in units: 1 for a request, and
1 more for each 4 KiB of its message, up to 16.  A put of 1 MiB is no more than that, or a few of them would
keep all small requests waiting; their bytes are bounded by the streams.

- The *limit* on what is under way follows the length of the turns of the event loop: above `target_s` it
  shrinks, below it grows while requests wait for it.  A turn is how long whatever comes has to wait here
  before anything can be done about it, even a refusal.  It is made by what this node does, and not by what it
  waits for: an owner that hangs makes no turn longer.  (The delay before the work as the signal, as the time
  of an answer has the delays of all others in it: Zhou et al., "Overload Control for Scaling WeChat
  Microservices", 2018.)
- The *queue* before it is bounded in time: what would wait longer than `patience_s` at the present rate is
  refused at once, before any work.  A burst may wait for long; a queue that has stood for a while may not
  (CoDel: Nichols, Jacobson, "Controlling Queue Delay", 2012; Maurer, "Fail at Scale", 2015).

Rules O2 and O3: docs/protocol/overload.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["UNIT_BYTES", "WorkLimit", "WorkLimitOptions", "cost_of"]

UNIT_BYTES: Final = 4096
MOST_UNITS: Final = 16  # of one request
_SHRINK: Final = 0.85
_SHRINK_MOST: Final = 0.5  # in one window
_GROW: Final = 1.05
_GROW_CALM: Final = 2.0
_CALM: Final = 0.25  # turns that are shorter than this share of what they may be: there is much room
_MEANT: Final = 0.3  # weight of the last window in the rate
_FORGET_S: Final = 1.0  # a node that began nothing for so long is idle


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkLimitOptions:
    """Costs in units, times in seconds.  Not `is_on`: everything is let in at once."""

    is_on: bool = True
    first_limit: float = 128.0
    least_limit: float = 96.0  # 256 under way at three nodes wait for nothing
    most_limit: float = 4096.0
    target_s: float = 0.01
    window_s: float = 0.1
    burst_s: float = 0.5  # how long a queue may be that was empty lately
    standing_s: float = 0.1  # and one that was not
    standing_after_s: float = 1.0
    least_queue: float = 1024.0  # as one busy client has under way
    first_rate: float = 2000.0  # units a second, until something was measured
    least_retry_s: float = 0.1
    most_retry_s: float = 2.0


class WorkLimit:
    """`now` is monotonic, in seconds; all calls come in its order."""

    def __init__(self, options: WorkLimitOptions, now: float) -> None:
        self._options = options
        self.limit = options.first_limit
        """Units that may be under way."""
        self.rate = options.first_rate
        """Units a second that are begun when requests wait."""
        self.turn_s = 0.0
        """How long a turn of the last window was, as one sees it who comes at any time."""
        self._window_at = now
        self._turns_s = 0.0
        self._squares = 0.0
        self._begun = 0.0
        self._refused = 0.0
        self._was_short = False  # requests waited in this window
        self._empty_at = now  # when the queue was empty last
        self.refused_share = 0.0
        """The share of the units offered in the last window that was refused."""

    def refused(self, cost: float) -> None:
        self._refused += cost

    def queued(self, waiting: float, now: float) -> None:
        """So much waits now."""
        if waiting:
            self._was_short = True
        else:
            self._empty_at = now

    def turned(self, seconds: float, begun: float, now: float) -> None:
        """A turn in which `begun` was begun has ended after this time."""
        if now - self._window_at >= _FORGET_S + self._options.window_s:  # the time of nothing tells nothing
            self._begin_window(now - seconds)
        self._turns_s += seconds
        self._squares += seconds * seconds
        self._begun += begun
        if now - self._window_at >= self._options.window_s:
            self._end_window(now)

    def stands_for_s(self, now: float) -> float:
        """For how long requests have waited without a pause."""
        return now - self._empty_at

    def queue_limit(self, now: float) -> float:
        """How much may wait: what is begun within the patience of now."""
        return max(self._options.least_queue, self.rate * self.patience_s(now))

    def patience_s(self, now: float) -> float:
        options = self._options
        is_standing = self.stands_for_s(now) > options.standing_after_s
        return options.standing_s if is_standing else options.burst_s

    def busy_share(self, now: float) -> float:
        """The length of a turn as a share of what it may be; 0 for a node without requests."""
        return self.turn_s / self._options.target_s if now - self._window_at < _FORGET_S else 0.0

    @property
    def retry_after_s(self) -> float:
        """When whoever is refused should come back: the later, the more are refused."""
        options = self._options
        return min(options.most_retry_s, options.least_retry_s / max(0.05, 1.0 - self.refused_share))

    def _end_window(self, now: float) -> None:
        options, passed_s = self._options, now - self._window_at
        self.turn_s = self._squares / self._turns_s if self._turns_s else 0.0
        if self.turn_s > options.target_s:
            factor = max(_SHRINK_MOST, min(_SHRINK, options.target_s / self.turn_s))
            self.limit = max(options.least_limit, self.limit * factor)
        elif self._was_short:
            is_calm = self.turn_s < _CALM * options.target_s
            self.limit = min(options.most_limit, self.limit * (_GROW_CALM if is_calm else _GROW) + 1.0)
        if self._was_short:
            self.rate += _MEANT * (self._begun / passed_s - self.rate)
        offered = self._begun + self._refused
        self.refused_share = self._refused / offered if offered else 0.0
        self._begin_window(now)

    def _begin_window(self, now: float) -> None:
        self._window_at, self._turns_s, self._squares = now, 0.0, 0.0
        self._begun, self._refused, self._was_short = 0.0, 0.0, False


def cost_of(body: bytes) -> int:
    """How many units a request with this message costs."""
    return 1 + min(len(body) // UNIT_BYTES, MOST_UNITS - 1)
