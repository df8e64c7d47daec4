"""What a person or a program is told of a run of jobs, how to run it again, and many of them summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ringmill.simulator.campaign import Totals, over_processes
from ringmill.simulator.job_run import JOB_OPTIONS, JobRunResult, run_job_seed
from ringmill.simulator.options import RunOptions
from ringmill.simulator.report import broken_lines, document, lines, replay_command
from ringmill.simulator.shrink import Search

__all__ = [
    "MOST_JOB_RUNS",
    "JobOutcome",
    "JobSummary",
    "job_document",
    "job_text",
    "run_job_seeds",
    "shrink_jobs",
]

MOST_JOB_RUNS = 60
_ENDS = ("SUCCEEDED", "FAILED", "KILLED", "RUNNING", "PENDING", "UNKNOWN")


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What of a run crosses between the processes of a campaign."""

    seed: int
    ends: tuple[str, ...]
    virtual_s: float
    faults: dict[str, int]
    broken: tuple[str, ...]


@dataclass(slots=True)
class JobSummary(Totals):
    """Of runs of jobs.  `ends` are the last words that clients or nodes had on jobs."""

    ends: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: JobOutcome) -> None:
        self.count(outcome.seed, outcome.virtual_s, outcome.faults, outcome.broken)
        self.ends.update(outcome.ends)

    def text(self) -> str:
        return self.lines(f"{self.ends.total():,} jobs ({_ends(self.ends)})")

    def document(self) -> dict[str, Any]:
        return self.fields({"jobs": dict(sorted(self.ends.items()))})


def run_job_seeds(seeds: Iterable[int], options: RunOptions, *, processes: int) -> Iterator[JobOutcome]:
    """Outcomes in the order of the seeds."""
    return over_processes(_outcome, ((seed, options) for seed in seeds), processes)


def shrink_jobs(failing: JobRunResult, watch: Callable[[int], None]) -> JobRunResult:
    """The same property broken by as few faults as `MOST_JOB_RUNS` runs could find."""
    search = Search(failing, run_job_seed, MOST_JOB_RUNS, watch)
    search.without_faults(failing.options.only_faults or range(10))
    return search.best


def job_document(result: JobRunResult) -> dict[str, Any]:
    """The fields of a run of keys, and how each job ended."""
    return document(result, {"ops": len(result.ends), "jobs": list(result.ends)}, _replay(result))


def job_text(result: JobRunResult) -> str:
    """The verdict and what was tried, for people."""
    told = lines(result, f"{len(result.ends)} jobs ({_ends(Counter(result.ends))})", _replay(result))
    return "\n".join([*told, *(broken_lines(result) if result.violations else ())])


def _outcome(work: tuple[int, RunOptions]) -> JobOutcome:
    seed, options = work
    result = run_job_seed(seed, options)
    return JobOutcome(seed, result.ends, result.virtual_s, result.faults, tuple(map(str, result.violations)))


def _replay(result: JobRunResult) -> str:
    return replay_command(result.seed, result.options, "--jobs", usual=JOB_OPTIONS)


def _ends(ends: Counter[str]) -> str:
    return ", ".join(f"{ends[end]:,} {end}" for end in _ENDS if ends[end]) or "none"
