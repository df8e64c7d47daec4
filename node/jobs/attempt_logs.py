"""The printed output of the attempts of one job, the end of it, within a bound.

When there is too much, the oldest output of a success is dropped first, so that failures stay.  A failure
that many tasks share is kept in full once: by the first that has it, whose lines outlive what it printed.  Of
a success that printed nothing there is nothing to keep.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport
from ringmill.node.jobs.views import AttemptLog

__all__ = ["AttemptLogs"]

MAX_BYTES: Final = 2 * 1024 * 1024  # fits into one answer; small enough to keep many jobs in memory


@dataclass(slots=True)
class AttemptLogs:
    _logs: dict[int, AttemptLog] = field(default_factory=dict)  # in the order in which attempts ended
    _successes: deque[int] = field(default_factory=deque)
    _failures: deque[int] = field(default_factory=deque)
    _texts: deque[int] = field(default_factory=deque)  # failures in full, without what was printed
    _ended: int = 0
    _size: int = 0
    _first: dict[object, str] = field(default_factory=dict)  # the first attempt with each failure
    _in_full: dict[int, object] = field(default_factory=dict)  # the failures that these logs tell in full
    _printed: dict[int, int] = field(default_factory=dict)  # bytes before the lines of these

    def keep_failure(
        self, report: AttemptReport, failure: TaskFailed, figures: AttemptFigures | None
    ) -> None:
        """Keep the output of a failed attempt, and after it the cause and the peak of its memory."""
        peak = f"peak memory {(figures.peak_bytes if figures else 0) >> 20} MiB"
        is_new = failure.essence not in self._first
        first = self._first.setdefault(failure.essence, f"{report.attempt}")
        if is_new:
            self._in_full[self._ended + 1] = failure.essence
            self._printed[self._ended + 1] = len(report.output)
        if first == f"{report.attempt}":  # it may come again, as after the node was taken for lost
            self.keep(report, cause=str(failure.cause), lines=[*failure.lines, peak])
        else:
            self.keep(report, cause=str(failure.cause), lines=[f"{failure} (as {first})", peak])

    def keep(self, report: AttemptReport, *, cause: str = "", lines: Sequence[str] = ()) -> None:
        """Keep the output of an ended attempt, and after it the lines that its code logged, in which a
        lone surrogate that stands for no byte is shown as its escape."""
        attempt = report.attempt
        task = f"{attempt.stage}-{attempt.task}"
        output = report.output + b"".join(map(_encoded, lines))
        if not (output or cause):
            return
        self._ended += 1
        self._logs[self._ended] = AttemptLog(task, attempt.number, report.node, cause, output)
        self._size += len(output)
        if output:
            (self._failures if cause else self._successes).append(self._ended)
        while self._size > MAX_BYTES:
            self._drop_one()

    def _drop_one(self) -> None:
        victim = (self._successes or self._failures or self._texts).popleft()
        if (printed := self._printed.pop(victim, None)) is not None:
            log = self._logs[victim]
            self._logs[victim] = replace(log, output=log.output[printed:])
            self._size -= printed
            self._texts.append(victim)
            return
        self._size -= len(self._logs.pop(victim).output)
        if victim in self._in_full:  # the next one that has it is told in full
            del self._first[self._in_full.pop(victim)]

    def of(self, task: str) -> list[AttemptLog]:
        """The logs of one task, or of all tasks if it is "", in the order in which attempts ended."""
        return [log for log in self._logs.values() if task in ("", log.task)]


def _encoded(line: str) -> bytes:
    try:
        return f"{line}\n".encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return f"{line}\n".encode("utf-8", "backslashreplace")
