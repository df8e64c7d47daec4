"""Many seeds over several processes, summed up.

A seed is independent of all others, so a campaign is a map; a worker ends after some hundred seeds, which
bounds its memory whatever a run leaves behind.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from typing import Any, TypeVar

from simulator.options import RunOptions
from simulator.run import RunResult, run_seed

__all__ = ["Summary", "over_processes", "run_seeds"]

W = TypeVar("W")
R = TypeVar("R")

_SEEDS_A_WORKER = 200


@dataclass(slots=True)
class Summary:
    """What a campaign adds up to."""

    seeds: int = 0
    operations: int = 0
    answered: int = 0
    virtual_s: float = 0.0
    weak_and_stale: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failed: dict[int, str] = field(default_factory=dict)  # seed to what broke first

    def add(self, result: RunResult) -> None:
        self.seeds += 1
        self.operations += result.operations
        self.answered += result.answered
        self.virtual_s += result.virtual_s
        self.weak_and_stale += len(result.stale_s)
        self.faults.update(result.faults)
        if result.violations:
            self.failed[result.seed] = str(result.violations[0])

    def text(self) -> str:
        """Some lines for people."""
        faults = ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.faults.items()))
        return (
            f"{self.seeds:,} seeds, {len(self.failed)} with a violation; {self.operations:,} operations "
            f"({self.answered:,} answered) in {self.virtual_s:,.0f} s of virtual time; "
            f"{self.weak_and_stale:,} weak reads were stale\nfaults that fired: {faults or 'none'}"
        )

    def document(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "verdict": "violation" if self.failed else "ok",
            "seeds": self.seeds,
            "ops": self.operations,
            "virtual_s": round(self.virtual_s, 3),
            "faults": dict(sorted(self.faults.items())),
            "failed": {str(seed): story for seed, story in self.failed.items()},
        }


def run_seeds(seeds: Iterable[int], options: RunOptions, *, processes: int) -> Iterator[RunResult]:
    """Results in the order of the seeds, without their histories."""
    return over_processes(_run, ((seed, options) for seed in seeds), processes)


def over_processes(run: Callable[[W], R], work: Iterable[W], processes: int) -> Iterator[R]:
    """`run` of each piece of work, in order.  Ctrl-C is for this process alone, which ends the others."""
    if processes == 1:
        yield from map(run, work)
        return
    resource_tracker.ensure_running()  # its first start would let the signal through again
    former = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # inherited by every worker
    try:
        pool = multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=_SEEDS_A_WORKER)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
    with pool:
        yield from pool.imap(run, work)


def _run(work: tuple[int, RunOptions]) -> RunResult:
    seed, options = work
    return run_seed(seed, options).without_history()
