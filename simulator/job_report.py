"""What a person or a program is told of a run of jobs, how to run it again, and many of them summed up."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from simulator.campaign import over_processes
from simulator.job_run import JOB_OPTIONS, JobRunResult, run_job_seed
from simulator.options import RunOptions
from simulator.shrink import shortest

__all__ = ["JobOutcome", "JobSummary", "job_document", "job_text", "run_job_seeds", "shrink_jobs"]

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
class JobSummary:
    """What a campaign of jobs adds up to.  `ends` are the last words that clients or nodes had on jobs."""

    seeds: int = 0
    virtual_s: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    failed: dict[int, str] = field(default_factory=dict)  # seed to what broke first

    def add(self, outcome: JobOutcome) -> None:
        self.seeds += 1
        self.virtual_s += outcome.virtual_s
        self.ends.update(outcome.ends)
        self.faults.update(outcome.faults)
        if outcome.broken:
            self.failed[outcome.seed] = outcome.broken[0]

    def text(self) -> str:
        """Some lines for people."""
        return (
            f"{self.seeds:,} seeds, {len(self.failed)} with a violation; {self.ends.total():,} jobs "
            f"({_ends(self.ends)}) in {self.virtual_s:,.0f} s of virtual time\n"
            f"faults that fired: {_faults(self.faults)}"
        )

    def document(self) -> dict[str, Any]:
        return {
            "verdict": "violation" if self.failed else "ok",
            "seeds": self.seeds,
            "jobs": dict(sorted(self.ends.items())),
            "virtual_s": round(self.virtual_s, 3),
            "faults": dict(sorted(self.faults.items())),
            "failed": {str(seed): story for seed, story in self.failed.items()},
        }


def run_job_seeds(seeds: Iterable[int], options: RunOptions, *, processes: int) -> Iterator[JobOutcome]:
    """Outcomes in the order of the seeds."""
    return over_processes(_outcome, ((seed, options) for seed in seeds), processes)


def shrink_jobs(failing: JobRunResult, watch: Callable[[int], None], *, most_runs: int = 60) -> JobRunResult:
    """The same property broken by as few faults as `most_runs` runs could find."""
    best, runs = failing, 0

    def still_fails(kept: tuple[int, ...]) -> bool:
        nonlocal best, runs
        if runs >= most_runs:
            return False
        runs += 1
        watch(runs)
        result = run_job_seed(failing.seed, replace(failing.options, only_faults=kept))
        if any(each.property == failing.violations[0].property for each in result.violations):
            best = result
            return True
        return False

    shortest(failing.options.only_faults or range(8), lambda kept: still_fails(tuple(kept)))
    return best


def job_document(result: JobRunResult) -> dict[str, Any]:
    """The fields of a run of keys, and how each job ended."""
    return {
        "seed": result.seed,
        "verdict": "ok" if result.is_ok else "violation",
        "property": result.violations[0].property if result.violations else None,
        "trace": result.trace,
        "ops": len(result.ends),
        "jobs": list(result.ends),
        "virtual_s": round(result.virtual_s, 3),
        "faults": result.faults,
        "violations": [str(violation) for violation in result.violations],
        "replay": _replay(result),
    }


def job_text(result: JobRunResult) -> str:
    """The verdict and what was tried, for people."""
    lines = [
        f"seed {result.seed}: {'every promise held' if result.is_ok else 'A PROMISE WAS BROKEN'}",
        f"  tried   {len(result.ends)} jobs ({_ends(Counter(result.ends))}) on {result.options.nodes} nodes "
        f"in {result.virtual_s:.1f} s of virtual time",
        f"  faults  {_faults(Counter(result.faults))}",
        f"  trace   {result.trace}",
        f"  replay  {_replay(result)}",
    ]
    if result.violations:
        lines += ["  broken:", *(f"    {violation}" for violation in result.violations[:10])]
    return "\n".join(lines)


def _outcome(work: tuple[int, RunOptions]) -> JobOutcome:
    seed, options = work
    result = run_job_seed(seed, options)
    return JobOutcome(seed, result.ends, result.virtual_s, result.faults, tuple(map(str, result.violations)))


def _replay(result: JobRunResult) -> str:
    words = ["ringmill", "simulate", "--jobs", "--seed", str(result.seed)]
    options = result.options
    for flag, value, plain in (
        ("--faults", options.faults, JOB_OPTIONS.faults),
        ("--without", options.safeguards_off, ()),
        ("--only-faults", options.only_faults, None),
    ):
        if value is not None and value != plain:
            words += [flag, ",".join(map(str, value)) or "none"]
    return shlex.join(words)


def _ends(ends: Counter[str]) -> str:
    return ", ".join(f"{ends[end]:,} {end}" for end in _ENDS if ends[end]) or "none"


def _faults(faults: Counter[str]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in sorted(faults.items())) or "none fired"
