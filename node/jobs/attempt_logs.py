"""The printed output of the attempts of one job, the end of it, within a bound.

When there is too much, the oldest output of a success is dropped first, so that failures stay.  A failure
that many tasks share is kept in full once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport
from ringmill.node.jobs.views import AttemptLog

__all__ = ["AttemptLogs"]

MAX_BYTES: Final = 2 * 1024 * 1024  # fits into one answer; small enough to keep many jobs in memory


@dataclass(slots=True)
class AttemptLogs:
    _logs: list[AttemptLog] = field(default_factory=list)
    _size: int = 0
    _first: dict[object, str] = field(default_factory=dict)  # the first attempt with each failure

    def keep_failure(
        self, report: AttemptReport, failure: TaskFailed, figures: AttemptFigures | None
    ) -> None:
        """Keep the output of a failed attempt, and after it the cause and the peak of its memory."""
        peak = f"peak memory {(figures.peak_bytes if figures else 0) >> 20} MiB"
        first = self._first.setdefault(failure.essence, f"{report.attempt}")
        if first == f"{report.attempt}":
            self.keep(report, cause=str(failure.cause), lines=[*failure.lines, peak])
        else:
            self.keep(report, cause=str(failure.cause), lines=[f"{failure} (as {first})", peak])

    def keep(self, report: AttemptReport, *, cause: str = "", lines: Sequence[str] = ()) -> None:
        """Keep the output of an ended attempt, and after it the lines that its code logged, in which a
        lone surrogate that stands for no byte is shown as its escape."""
        attempt = report.attempt
        task = f"{attempt.stage}-{attempt.task}"
        output = report.output + b"".join(map(_encoded, lines))
        self._logs.append(AttemptLog(task, attempt.number, report.node, cause, output))
        self._size += len(output)
        while self._size > MAX_BYTES:
            victim = min(self._logs, key=lambda log: (bool(log.cause) or not log.output, not log.output))
            self._logs.remove(victim)
            self._size -= len(victim.output)

    def of(self, task: str) -> list[AttemptLog]:
        """The logs of one task, or of all tasks if it is "", in the order in which attempts ended."""
        return [log for log in self._logs if task in ("", log.task)]


def _encoded(line: str) -> bytes:
    try:
        return f"{line}\n".encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return f"{line}\n".encode("utf-8", "backslashreplace")
