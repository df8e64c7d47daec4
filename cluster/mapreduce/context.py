"""The context of a job's functions, their optional `ctx` parameter.

Pure: it collects, and its task reports.  The counters of an attempt count only when the attempt commits.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.chance import TaskRandom

__all__ = ["MAX_COUNT", "MAX_COUNTER_CHARS", "MOST_COUNTERS", "Context"]

_LOG_LINES = 1000
_LOG_LINE_CHARS = 500
MOST_COUNTERS = 1000  # of a task, and of what is told of a job
MAX_COUNT = 1 << 46  # so that the sum over all tasks of a stage stays below 2^63
MAX_COUNTER_CHARS = 200


@dataclass(slots=True)
class Context:
    """What an attempt's functions may use.

    `path` is the file of the present record (map only).  `params` are the job's parameters.  `rng` gives the
    same numbers in every attempt of this task.  `deadline` is when the attempt will be stopped, in seconds of
    the system's monotonic clock, or None.  `memory_bytes` is what the engine buffers of a task's records.
    """

    task: str
    rng: TaskRandom
    params: Mapping[str, str] = field(default_factory=dict)
    deadline: float | None = None
    memory_bytes: int = 64 << 20
    side_paths: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    counters: Counter[str] = field(default_factory=Counter)
    status_text: str = ""
    log_lines: list[str] = field(default_factory=list)

    def side(self, name: str) -> str:
        """The absolute path of a file of side data.  Raises InvalidArgument for a name the job has not."""
        try:
            return self.side_paths[name]
        except KeyError:
            known = ", ".join(sorted(self.side_paths)) or "none"
            raise InvalidArgument(f"the job has no side data {name!r:.80}; it has {known}") from None

    def count(self, name: str, amount: int = 1) -> None:
        """Add an integer to a counter of the job.

        A task may count 1000 names of up to 200 characters; of a job the first 1000, by name, are told.
        """
        if name not in self.counters:
            self._check_name(name)
        total = self.counters[name] + operator.index(amount)
        if abs(total) > MAX_COUNT:
            raise ValueError(f"counter {name!r} would be {total}; a task may count to {MAX_COUNT}")
        self.counters[name] = total

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str) or len(name) > MAX_COUNTER_CHARS:
            raise ValueError(
                f"a counter has a name of at most {MAX_COUNTER_CHARS} characters, not {name!r:.80}"
            )
        if len(self.counters) >= MOST_COUNTERS:
            raise ValueError(f"a task may have {MOST_COUNTERS} counters; {name!r} is one more")

    def status(self, text: str) -> None:
        """Set a short status text; the last one is shown."""
        self.status_text = str(text)[:200]

    def log(self, text: str) -> None:
        """Add a line to the attempt's log, which keeps the last 1000 lines and 500 characters of each."""
        self.log_lines.append(str(text)[:_LOG_LINE_CHARS])
        if len(self.log_lines) > _LOG_LINES:
            del self.log_lines[0]
