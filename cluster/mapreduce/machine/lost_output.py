"""Decides whether the output of a finished map is lost, from the reports of reducers that could not read it.

Pure.  One bad checksum is proof; otherwise two reducers must report it, or one of them twice at least two
seconds apart, so that a short network failure never re-runs a map (rule J4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ringmill.cluster.mapreduce.machine.job_events import AttemptId

__all__ = ["FetchReports"]

APART_S: Final = 2.0  # twice the longest pause before a broken connection is dialled again


@dataclass(slots=True)
class FetchReports:
    """Reports by map attempt: when each reduce task reported it first."""

    _first: dict[AttemptId, dict[int, float]] = field(default_factory=dict)

    def is_lost(self, source: AttemptId, reducer: int, *, is_corrupt: bool, now: float) -> bool:
        """Add a report.  Returns whether the output counts as lost."""
        reports = self._first.setdefault(source, {})
        first = reports.setdefault(reducer, now)
        return is_corrupt or len(reports) > 1 or now - first >= APART_S

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: [[map task, attempt number, [[reducer, first report], ...]], ...]."""
        return [
            [source.task, source.number, [[reducer, at] for reducer, at in first.items()]]
            for source, first in self._first.items()
        ]

    @classmethod
    def from_wire(cls, rows: Sequence[Any]) -> FetchReports:
        return cls({AttemptId("map", task, number): dict(first) for task, number, first in rows})
