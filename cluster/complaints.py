"""Faults and refusals in the log: the first of a kind in full, the others as a count.

Anyone who can reach a node's port can make a handler fail as often as they like, and a trace for each failure
would fill the disk.  So errors are grouped by the line that raised them: the first is logged in full, then at
most one count a minute.  There is no timer: the count of a burst that has ended is told with the next
complaint of any kind, with the span in which they came.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

__all__ = ["Complaints"]

EVERY_S: Final = 60.0
MOST_KINDS: Final = 256

_log = logging.getLogger(__name__)

Kind = tuple[str, str, int, str]


class Monotonic(Protocol):
    """The part of a Clock that is needed here."""

    def monotonic(self) -> float: ...


@dataclass(slots=True)
class _Burst:
    """A kind that was logged at `at`, and came `since` times more until `last_at`; `said` is the last one."""

    at: float
    method: str
    has_trace: bool
    since: int = 0
    last_at: float = 0.0
    by: str = ""
    said: str = ""


class Complaints:
    def __init__(self, name: str, clock: Monotonic) -> None:
        self._name = name
        self._clock = clock
        self._bursts: dict[Kind, _Burst] = {}
        self._due_at = inf  # no count is due before

    def add(
        self, method: str, error: Exception, *, by: str = "", sort: str = "", has_trace: bool = True
    ) -> None:
        """Log a fault, or count it.  One that was caused `by` somebody else has no trace.

        Faults of one line are told apart by their `sort`, of which there must be few.
        """
        kind, now = _kind(method + sort, error), self._clock.monotonic()
        burst = self._bursts.pop(kind, None)
        if now >= self._due_at:
            self._tell_due(now)
        if burst is None:
            self._tell_first(method, error, by, has_trace=has_trace)
            self._bursts[kind] = _Burst(now, method, has_trace)
        else:
            if burst.since and now - burst.last_at >= 2 * EVERY_S:
                self._tell_count(burst)  # a burst of its own
            burst.since, burst.last_at, burst.by, burst.said = burst.since + 1, now, by, repr(error)
            if now - burst.at >= EVERY_S:
                self._tell_count(burst)
            else:
                self._due_at = min(self._due_at, burst.at + EVERY_S)
            self._bursts[kind] = burst
        if len(self._bursts) > MOST_KINDS:
            self._tell_count(self._bursts.pop(next(iter(self._bursts))))

    def _tell_first(self, method: str, error: Exception, by: str, *, has_trace: bool) -> None:
        if by:
            _log.warning("%s: %s of %s was refused: %s", self._name, method, by, error)
        elif has_trace:
            _log.error("%s: %s failed", self._name, method, exc_info=error)
        else:
            _log.warning("%s: %s failed: %s", self._name, method, error)

    def _tell_due(self, now: float) -> None:
        self._due_at = inf
        for burst in self._bursts.values():
            if burst.since and now - burst.at >= EVERY_S:
                self._tell_count(burst)
            elif burst.since:
                self._due_at = min(self._due_at, burst.at + EVERY_S)

    def _tell_count(self, burst: _Burst) -> None:
        """At the level of the first: a client can make refusals as it likes."""
        count, span_s = burst.since, burst.last_at - burst.at
        burst.at, burst.since = burst.last_at, 0
        if not count:
            return
        if burst.by:
            _log.warning(
                "%s: %s was refused %d times more in %.0f s, the last time of %s: %s",
                self._name, burst.method, count, span_s, burst.by, burst.said,
            )  # fmt: skip
        elif burst.has_trace:
            _log.error(
                "%s: %s failed %d times more in %.0f s: %s",
                self._name,
                burst.method,
                count,
                span_s,
                burst.said,
            )
        else:
            _log.warning(
                "%s: %s failed again, %d times in %.0f s: %s",
                self._name,
                burst.method,
                count,
                span_s,
                burst.said,
            )


def _kind(method: str, error: Exception) -> Kind:
    """A fault by its method, its type and the line that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file, line = (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace is not None else ("", 0)
    return method, file, line, type(error).__name__
