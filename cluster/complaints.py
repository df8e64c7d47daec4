"""Faults and refusals in the log: the first of a kind in full, the others as a count.

Anyone who can reach a node's port can make a handler fail as often as they like, and a trace for each failure
would fill the disk.  So errors are grouped by the line that raised them: the first is logged in full, then at
most one count a minute.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

__all__ = ["Complaints"]

EVERY_S: Final = 60.0
MOST_KINDS: Final = 256

_log = logging.getLogger(__name__)

Kind = tuple[str, str, int, str]


class Monotonic(Protocol):
    """The part of a Clock that is needed here."""

    def monotonic(self) -> float: ...


class Complaints:
    def __init__(self, name: str, clock: Monotonic) -> None:
        self._name = name
        self._clock = clock
        self._told: dict[Kind, tuple[float, int]] = {}  # when it was told last, and how often it came since

    def add(
        self, method: str, error: Exception, *, by: str = "", sort: str = "", has_trace: bool = True
    ) -> None:
        """Log a fault, or count it.  One that was caused `by` somebody else has no trace.

        Faults of one line are told apart by their `sort`, of which there must be few.
        """
        kind, now = _kind(method + sort, error), self._clock.monotonic()
        told_at, since = self._told.pop(kind, (None, 0))
        if told_at is None:
            if by:
                _log.warning("%s: %s of %s was refused: %s", self._name, method, by, error)
            elif has_trace:
                _log.error("%s: %s failed", self._name, method, exc_info=error)
            else:
                _log.warning("%s: %s failed: %s", self._name, method, error)
            self._told[kind] = (now, 0)
        elif now - told_at >= EVERY_S:
            count = since + 1
            _log.error(
                "%s: %s failed %d times more in %.0f s: %r", self._name, method, count, now - told_at, error
            )
            self._told[kind] = (now, 0)
        else:
            self._told[kind] = (told_at, since + 1)
        if len(self._told) > MOST_KINDS:
            self._told.pop(next(iter(self._told)))


def _kind(method: str, error: Exception) -> Kind:
    """A fault by its method, its type and the line that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file, line = (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace is not None else ("", 0)
    return method, file, line, type(error).__name__
