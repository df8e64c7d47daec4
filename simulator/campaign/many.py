"""Runs many seeds in several processes and sums up the results.

Seeds are independent, so a campaign is a map.  Workers end after some hundred seeds each, which bounds their
memory, and others do the next ones.  An executor notices a worker that the kernel has ended, which
`multiprocessing.Pool` waits for without an end.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing import resource_tracker
from typing import Any, Final

from ringmill.simulator.campaign.report import fault_list, tried_fields, tried_text
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.options import SimulationOptions, usual_options
from ringmill.simulator.run import SimulationResult, run_seed
from ringmill.simulator.subjects.every import subjects_named

__all__ = ["SEEDS_FOR_ALL_MARKS", "Summary", "has_to_meet_all", "run_seeds"]

_SEEDS_A_WORKER: Final = 200
SEEDS_FOR_ALL_MARKS: Final = 1000
"""From this many seeds on a campaign has to meet every mark of its subjects.

The rarest one is met by about one run in 150, so that a thousand runs miss it once in 700 campaigns.
A mark that is missing after them stands where runs do not come any more.
"""


def has_to_meet_all(seeds: int, options: SimulationOptions) -> bool:
    """Whether a campaign that misses a mark is red: a long one, whose runs draw all that they can draw."""
    usual, of_command = usual_options(options.subjects), SimulationOptions()
    widened = replace(
        usual,
        nodes=of_command.nodes if options.nodes == of_command.nodes else usual.nodes,
        operations=max(usual.operations, options.operations),
        longest_s=max(usual.longest_s, options.longest_s),
        callbacks=options.callbacks,
    )
    return seeds >= SEEDS_FOR_ALL_MARKS and options == widened


@dataclass(slots=True)
class Summary:
    """The summary of a campaign."""

    needs_all_marks: bool = False
    seeds: int = 0
    virtual_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    failed: dict[int, str] = field(default_factory=dict)  # seed to what broke first
    figures: dict[str, Counter[str]] = field(default_factory=dict)  # by subject
    marks: Counter[str] = field(default_factory=Counter)  # in product code, the runs that met each

    def add(self, result: SimulationResult) -> None:
        self.seeds += 1
        self.virtual_s += result.virtual_s
        self.faults.update(result.faults)
        for subject, figures in result.figures.items():
            self.figures.setdefault(subject, Counter()).update(figures)
        self.marks.update(dict.fromkeys(result.marks, 1))
        if result.violations:
            self.failed[result.seed] = str(result.violations[0])

    @property
    def is_ok(self) -> bool:
        return self.verdict == "ok"

    @property
    def verdict(self) -> str:
        if self.failed:
            return "violation"
        return "marks never met" if self.needs_all_marks and self.never_met() else "ok"

    def text(self) -> str:
        """Some lines for people."""
        unmet = self.never_met() if self.needs_all_marks else []
        return (
            f"{self.seeds:,} seeds, {len(self.failed)} with a violation; {tried_text(self.figures)} "
            f"in {self.virtual_s:,.0f} s of virtual time\n"
            f"faults that fired: {fault_list(self.faults) or 'none'}\n"
            f"marks: {len(self._wanted()) - len(self.never_met())} of {len(self._wanted())} met"
            + (f"; never met: {', '.join(unmet)}" if unmet else "")
        )

    def never_met(self) -> list[str]:
        """The marks of the subjects that no run has met."""
        return [mark for mark in self._wanted() if not self.marks[mark]]

    def _wanted(self) -> list[str]:
        return [mark for subject in subjects_named(list(self.figures)) for mark in subject.marks]

    def document(self) -> dict[str, Any]:
        """The result as a JSON document."""
        return {
            "verdict": self.verdict,
            "seeds": self.seeds,
            **tried_fields(self.figures),
            "virtual_s": round(self.virtual_s, 3),
            "faults": dict(sorted(self.faults.items())),
            "marks": {mark: self.marks[mark] for mark in self._wanted()},
            "failed": {str(seed): story for seed, story in self.failed.items()},
        }


def run_seeds(
    seeds: Iterable[int], options: SimulationOptions, *, processes: int
) -> Iterator[SimulationResult]:
    """Results in the order of the seeds, without their histories.

    Ctrl-C is for this process alone, which ends the others.  Raises BrokenProcessPool when one of these was
    ended from outside.
    """
    work = ((seed, options) for seed in seeds)
    if processes == 1:
        yield from map(_run, work)
        return
    resource_tracker.ensure_running()  # its first start would let the signal through again
    while some := list(islice(work, processes * _SEEDS_A_WORKER)):
        yield from _shared(some, processes)


def _shared(work: Sequence[tuple[int, SimulationOptions]], processes: int) -> Iterator[SimulationResult]:
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    former = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # inherited by every worker
    try:
        results = pool.map(_run, work)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
    try:
        yield from results
    except BaseException:
        for worker in {*multiprocessing.active_children()} - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _run(work: tuple[int, SimulationOptions]) -> SimulationResult:
    """A bug of the simulator itself is told with its seed, and others go on."""
    seed, options = work
    try:
        return run_seed(seed, options).without_history()
    except Exception as error:  # noqa: BLE001 - the seed gives it again, with its place
        found = Violation("run", b"", f"has no verdict: {type(error).__name__}: {error}")
        return SimulationResult(
            seed=seed,
            options=options,
            violations=(found,),
            virtual_s=0.0,
            steps=0,
            faults={},
            trace="",
            figures={},
            marks={},
        )
