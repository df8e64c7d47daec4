"""When is a finished map's output lost?  Weighs reducers' reports that they could not read it.

Pure.  One bad checksum is proof; else two different reducers have to say so, or one of them twice at least
two seconds apart, so that a single hiccup of the network never re-runs a map (rule J4).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ringmill.cluster.mapreduce.machine.job_events import AttemptId

__all__ = ["FetchReports"]

APART_S: Final = 2.0  # twice the longest pause before a broken connection is dialled again


@dataclass(slots=True)
class FetchReports:
    """Reports by map attempt: which reduce task said it first, and when."""

    _first: dict[AttemptId, dict[int, float]] = field(default_factory=dict)

    def is_lost(self, source: AttemptId, reducer: int, *, is_corrupt: bool, now: float) -> bool:
        """Take one more report; whether the output has to be taken as lost."""
        reports = self._first.setdefault(source, {})
        first = reports.setdefault(reducer, now)
        return is_corrupt or len(reports) > 1 or now - first >= APART_S
