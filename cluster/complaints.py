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
class _Told:
    """A kind that was told at `at`, and came `since` times more until `last_at`, as the last one said."""

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
        self._told: dict[Kind, _Told] = {}
        self._due_at = inf  # no count is due before

    def add(
        self, method: str, error: Exception, *, by: str = "", sort: str = "", has_trace: bool = True
    ) -> None:
        """Log a fault, or count it.  One that was caused `by` somebody else has no trace.

        Faults of one line are told apart by their `sort`, of which there must be few.
        """
        kind, now = _kind(method + sort, error), self._clock.monotonic()
        told = self._told.pop(kind, None)
        if now >= self._due_at:
            self._tell_due(now)
        if told is None:
            self._tell_first(method, error, by, has_trace=has_trace)
            self._told[kind] = _Told(now, method, has_trace)
        else:
            if told.since and now - told.last_at >= 2 * EVERY_S:
                self._tell_count(told)  # a burst of its own
            told.since, told.last_at, told.by, told.said = told.since + 1, now, by, repr(error)
            if now - told.at >= EVERY_S:
                self._tell_count(told)
            else:
                self._due_at = min(self._due_at, told.at + EVERY_S)
            self._told[kind] = told
        if len(self._told) > MOST_KINDS:
            self._tell_count(self._told.pop(next(iter(self._told))))

    def _tell_first(self, method: str, error: Exception, by: str, *, has_trace: bool) -> None:
        if by:
            _log.warning("%s: %s of %s was refused: %s", self._name, method, by, error)
        elif has_trace:
            _log.error("%s: %s failed", self._name, method, exc_info=error)
        else:
            _log.warning("%s: %s failed: %s", self._name, method, error)

    def _tell_due(self, now: float) -> None:
        self._due_at = inf
        for told in self._told.values():
            if told.since and now - told.at >= EVERY_S:
                self._tell_count(told)
            elif told.since:
                self._due_at = min(self._due_at, told.at + EVERY_S)

    def _tell_count(self, told: _Told) -> None:
        """At the level of the first: a client can make refusals as it likes."""
        count, span_s = told.since, told.last_at - told.at
        told.at, told.since = told.last_at, 0
        if not count:
            return
        if told.by:
            _log.warning(
                "%s: %s was refused %d times more in %.0f s, the last time of %s: %s",
                self._name, told.method, count, span_s, told.by, told.said,
            )  # fmt: skip
        elif told.has_trace:
            _log.error(
                "%s: %s failed %d times more in %.0f s: %s", self._name, told.method, count, span_s, told.said
            )
        else:
            _log.warning(
                "%s: %s failed again, %d times in %.0f s: %s",
                self._name,
                told.method,
                count,
                span_s,
                told.said,
            )


def _kind(method: str, error: Exception) -> Kind:
    """A fault by its method, its type and the line that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file, line = (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace is not None else ("", 0)
    return method, file, line, type(error).__name__
