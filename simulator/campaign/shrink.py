"""Makes a failing run small: fewer faults, then fewer operations, as long as the same property breaks.

Delta debugging (Zeller and Hildebrandt, 2002) over lists of indexes.  Faults and operations are drawn once,
so leaving some out does not change the others.  Bounded by a number of runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import SimulationResult, drawn_faults, drawn_workloads, run_seed

__all__ = ["MOST_RUNS", "Shrunk", "shortest", "shrink"]

MOST_RUNS = 150


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest failing run that was found, and how many runs that took.  It may not be the smallest that
    there is when Ctrl-C has ended the search."""

    result: SimulationResult
    runs: int
    is_interrupted: bool = False


class _Search:
    """Runs of a failing seed under other options, up to `most_runs`; `best` is the last that failed alike."""

    def __init__(
        self, failing: SimulationResult, most_runs: int, on_progress: Callable[[int], None] | None
    ) -> None:
        self.best = failing
        self.runs = 0
        self._most_runs = most_runs
        self._on_progress = on_progress
        self._broken = failing.violations[0].property

    def still_fails(self, options: SimulationOptions) -> bool:
        """Does the same property break?  Never once the runs are used up."""
        if self.runs >= self._most_runs:
            return False
        self.runs += 1
        if self._on_progress is not None:
            self._on_progress(self.runs)
        result = run_seed(self.best.seed, options)
        if not any(violation.property == self._broken for violation in result.violations):
            return False
        self.best = result
        return True


def shrink(
    failing: SimulationResult, *, most_runs: int = MOST_RUNS, on_progress: Callable[[int], None] | None = None
) -> Shrunk:
    """Search for the fewest faults and operations that break the property which `failing` broke.

    The search takes at most `most_runs` runs; `on_progress` is called with their number so far.  Ctrl-C ends
    it with what was found.
    """
    search = _Search(failing, most_runs, on_progress)
    try:
        _search_all(failing, search)
    except KeyboardInterrupt:
        return Shrunk(search.best, search.runs, is_interrupted=True)
    return Shrunk(search.best, search.runs)


def _search_all(failing: SimulationResult, search: _Search) -> None:
    """Leave out faults, then pieces of the workloads."""
    faults = failing.options.only_faults
    if faults is None:
        faults = tuple(range(len(drawn_faults(failing.seed, failing.options))))
    shortest(faults, lambda kept: search.still_fails(replace(search.best.options, only_faults=tuple(kept))))
    workloads = drawn_workloads(failing.seed, search.best.options)
    pieces = tuple(piece for workload in workloads.values() for piece in workload.pieces)
    shortest(
        pieces, lambda kept: search.still_fails(replace(search.best.options, only_operations=tuple(kept)))
    )


def shortest(items: Sequence[int], fails: Callable[[Sequence[int]], bool]) -> Sequence[int]:
    """A part of `items` that still fails and from which no tried piece can be left out."""
    size = max(1, len(items) // 2)
    while items:
        for start in range(0, len(items), size):
            rest = [*items[:start], *items[start + size :]]
            if fails(rest):
                items = rest
                break
        else:
            if size == 1:
                return items
            size = max(1, size // 2)
    return items
