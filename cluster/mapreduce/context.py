"""What a job's function may ask of the engine, through its optional `ctx` parameter.

Pure: it collects; the task that owns it reports.  Counters of an attempt count only when it commits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.mapreduce.chance import TaskRandom

__all__ = ["Context"]

_LOG_LINES = 1000
_MAX_COUNTERS = 1000


@dataclass(slots=True)
class Context:
    """One attempt's view of its task.

    `path` is the file that the present record came from (map only).  `params` are the job's parameters;
    `rng` gives the same numbers in every attempt of this task; `deadline` is when the attempt will be
    stopped, in seconds of the system's monotonic clock, or None.
    """

    task: str
    rng: TaskRandom
    params: Mapping[str, str] = field(default_factory=dict)
    deadline: float | None = None
    path: str = ""
    counters: Counter[str] = field(default_factory=Counter)
    status_text: str = ""
    log_lines: list[str] = field(default_factory=list)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter of the job; at most 1000 different names."""
        if name not in self.counters and len(self.counters) >= _MAX_COUNTERS:
            raise ValueError(f"a job may have {_MAX_COUNTERS} counters; {name!r} is one more")
        self.counters[name] += amount

    def status(self, text: str) -> None:
        """Say in a few words what is being done; the last one said is shown."""
        self.status_text = text[:200]

    def log(self, text: str) -> None:
        """Keep a line for the attempt's log; the last 1000 are kept."""
        self.log_lines.append(text)
        if len(self.log_lines) > _LOG_LINES:
            del self.log_lines[0]
