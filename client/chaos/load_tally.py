"""What a load was answered during a run: how much, how fast, which errors, and the worst gap."""

from __future__ import annotations

import math
from collections import Counter
from typing import Protocol

from ringmill.client.checked.product_faults import is_product_fault
from ringmill.cluster.meters.histogram import Histogram

__all__ = ["LoadTally"]

ANSWERED = ("ok", "conflict")


class Ended(Protocol):
    """A request of one of the loads.  Times are seconds of the loop's clock."""

    @property
    def invoked(self) -> float: ...

    @property
    def returned(self) -> float | None: ...

    @property
    def outcome(self) -> str: ...

    @property
    def error(self) -> str: ...


class LoadTally:
    """Counts requests as they end.

    Errors are `expected` while more nodes are away than a quorum can spare (`begin_excess`, `end_excess`),
    also those of requests that were under way meanwhile.  Else they are `unexpected`.  Both by code.  Those
    that say that the product is wrong are told as `breaches`, too.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.unexpected: Counter[str] = Counter()
        self.expected: Counter[str] = Counter()
        self.latencies = Histogram()
        self.worst_gap_s = 0.0
        self.worst_gap_at = 0.0
        self._wrong: Counter[str] = Counter()
        self._first_wrong: dict[str, str] = {}
        self._last_answer = math.inf
        self._excess_until = -math.inf
        self._is_over = False

    @property
    def errors(self) -> int:
        return self.unexpected.total() + self.expected.total()

    @property
    def breaches(self) -> tuple[str, ...]:
        """The errors that no fault excuses, each code with the text of its first."""
        return tuple(
            f"{count:,} {'request' if count == 1 else 'requests'} ended with {self._first_wrong[code]}"
            for code, count in self._wrong.items()
        )

    def percentile_ms(self, share: float) -> float:
        """A percentile of the latencies so far, in milliseconds; `share` is 0 to 1."""
        return self.latencies.percentile_ns(share) / 1e6

    def begin(self, now: float) -> None:
        """The load begins: gaps count from here on."""
        self._last_answer = now

    def begin_excess(self) -> None:
        self._excess_until = math.inf

    def end_excess(self, now: float) -> None:
        self._excess_until = now

    def end(self) -> None:
        """The load is over: what is asked later is not counted."""
        self._is_over = True

    def note(self, ended: Ended) -> None:
        """Count one request that is over."""
        if self._is_over:
            return
        assert ended.returned is not None
        self.requests += 1
        if ended.outcome in ANSWERED:
            self.latencies.record(int((ended.returned - ended.invoked) * 1e9))
            self.look_at_gap(ended.returned)
            self._last_answer = ended.returned
        else:
            errors = self.expected if ended.invoked <= self._excess_until else self.unexpected
            code = ended.error.partition(":")[0]
            errors[code] += 1
            if is_product_fault(ended.error):
                self._wrong[code] += 1
                self._first_wrong.setdefault(code, ended.error)

    def look_at_gap(self, now: float) -> None:
        """Count the time since the last answer, though none may have come now."""
        if now - self._last_answer > self.worst_gap_s:
            self.worst_gap_s, self.worst_gap_at = now - self._last_answer, self._last_answer
