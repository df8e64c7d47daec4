"""Many seeds over several processes, summed up.

A seed is independent of all others, so a campaign is a map; a worker ends after some hundred seeds, which
bounds its memory whatever a run leaves behind.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from typing import Any, TypeVar

from ringmill.simulator.options import RunOptions
from ringmill.simulator.report import fault_list
from ringmill.simulator.run import RunResult, run_seed

__all__ = ["Summary", "Totals", "over_processes", "run_seeds"]

W = TypeVar("W")
R = TypeVar("R")

_SEEDS_A_WORKER = 200


@dataclass(slots=True)
class Totals:
    """What any campaign adds up to, whatever its runs ask for."""

    seeds: int = 0
    virtual_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    failed: dict[int, str] = field(default_factory=dict)  # seed to what broke first

    def count(self, seed: int, virtual_s: float, faults: Mapping[str, int], broken: Sequence[object]) -> None:
        """Add one run."""
        self.seeds += 1
        self.virtual_s += virtual_s
        self.faults.update(faults)
        if broken:
            self.failed[seed] = str(broken[0])

    def lines(self, tried: str, more: str = "") -> str:
        """Some lines for people."""
        return (
            f"{self.seeds:,} seeds, {len(self.failed)} with a violation; {tried} in {self.virtual_s:,.0f} s "
            f"of virtual time{more}\nfaults that fired: {fault_list(self.faults) or 'none'}"
        )

    def fields(self, tried: Mapping[str, Any]) -> dict[str, Any]:
        """The same for programs."""
        return {
            "verdict": "violation" if self.failed else "ok",
            "seeds": self.seeds,
            **tried,
            "virtual_s": round(self.virtual_s, 3),
            "faults": dict(sorted(self.faults.items())),
            "failed": {str(seed): story for seed, story in self.failed.items()},
        }


@dataclass(slots=True)
class Summary(Totals):
    """Of runs of keys and values."""

    operations: int = 0
    answered: int = 0
    weak_and_stale: int = 0

    def add(self, result: RunResult) -> None:
        self.count(result.seed, result.virtual_s, result.faults, result.violations)
        self.operations += result.operations
        self.answered += result.answered
        self.weak_and_stale += len(result.stale_s)

    def text(self) -> str:
        tried = f"{self.operations:,} operations ({self.answered:,} answered)"
        return self.lines(tried, f"; {self.weak_and_stale:,} weak reads were stale")

    def document(self) -> dict[str, Any]:
        return self.fields({"ops": self.operations})


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
