"""What the attempts of one job printed, the last of it, within a bound.

Failures are kept before successes: when there is too much, the oldest output of a success goes first.  A
failure that many tasks share is told in full once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport
from ringmill.node.coordinator.views import AttemptLog

__all__ = ["AttemptLogs"]

MAX_BYTES: Final = 2 * 1024 * 1024  # fits into one answer, for many jobs into memory


@dataclass(slots=True)
class AttemptLogs:
    _logs: list[AttemptLog] = field(default_factory=list)
    _size: int = 0
    _first: dict[object, str] = field(default_factory=dict)  # by what failed: the attempt that met it first

    def keep_failure(self, report: AttemptReport, failure: TaskFailed, peak: str) -> None:
        """Keep what a failed attempt printed, and below it why it failed."""
        first = self._first.setdefault(failure.essence, f"{report.attempt}")
        if first == f"{report.attempt}":
            self.keep(report, cause=str(failure.cause), lines=[*failure.lines, peak])
        else:
            self.keep(report, cause=str(failure.cause), lines=[f"{failure} (as {first})", peak])

    def keep(self, report: AttemptReport, *, cause: str = "", lines: Sequence[str] = ()) -> None:
        """Keep what an ended attempt printed, and below it the lines that its code logged."""
        attempt = report.attempt
        task = f"{attempt.stage}-{attempt.task}"
        output = report.output + "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
        self._logs.append(AttemptLog(task, attempt.number, report.node, cause, output))
        self._size += len(output)
        while self._size > MAX_BYTES:
            victim = min(self._logs, key=lambda log: (bool(log.cause) or not log.output, not log.output))
            self._logs.remove(victim)
            self._size -= len(victim.output)

    def of(self, task: str) -> list[AttemptLog]:
        """Those of one task, or of all when it is empty, as they ended."""
        return [log for log in self._logs if task in ("", log.task)]
