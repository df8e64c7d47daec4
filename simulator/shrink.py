"""Makes a failing run small: fewer faults, then fewer operations, as long as the same property breaks.

Delta debugging (Zeller and Hildebrandt, 2002) over lists of indexes; faults and wishes are drawn once, so
leaving some out changes nothing about the others.  Bounded by a number of runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from simulator.options import RunOptions
from simulator.run import RunResult, drawn_faults, drawn_wishes, run_seed

__all__ = ["MOST_RUNS", "Shrunk", "shortest", "shrink"]

MOST_RUNS = 150


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest failing run that was found, and how many runs that took."""

    result: RunResult
    runs: int


def shrink(
    failing: RunResult, *, most_runs: int = MOST_RUNS, watch: Callable[[int], None] | None = None
) -> Shrunk:
    """The same property broken by as few faults and operations as `most_runs` runs could find.

    `watch` is told how many there were.
    """
    best = failing
    broken = failing.violations[0].property
    runs = 0

    def still_fails(options: RunOptions) -> bool:
        nonlocal best, runs
        if runs >= most_runs:
            return False
        runs += 1
        if watch is not None:
            watch(runs)
        result = run_seed(failing.seed, options)
        if any(violation.property == broken for violation in result.violations):
            best = result
            return True
        return False

    faults = best.options.only_faults
    if faults is None:
        faults = tuple(range(len(drawn_faults(failing.seed, failing.options))))
    shortest(faults, lambda kept: still_fails(replace(best.options, only_faults=tuple(kept))))
    wishes = tuple(wish.index for wish in drawn_wishes(failing.seed, best.options))
    shortest(wishes, lambda kept: still_fails(replace(best.options, only_operations=tuple(kept))))
    return Shrunk(best, runs)


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
