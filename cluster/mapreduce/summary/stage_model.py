"""The model of a stage, by which the time that a job has left is told, and that of a job before it runs.

Pure.  Tasks wait for slots in their order, and a slot that is free takes the next one.  Of very many tasks
only their sum counts, as the model is asked while a job runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace
from math import sqrt
from statistics import fmean
from typing import Final

__all__ = ["stage_seconds", "width_of"]

MANY_TASKS: Final = 1000
USUAL_SPREAD: Final = 0.5
"""Of the paces of tasks, relative to their mean, until three have ended."""
WIDEST: Final = 0.8
NARROWEST: Final = 0.05


def stage_seconds(running: Sequence[float], waiting: Sequence[float], slots: int) -> float:
    """How long tasks that run, and tasks that wait, will probably take, from what each of them will."""
    if len(waiting) > MANY_TASKS:
        return max((sum(running) + sum(waiting)) / slots, *running, *waiting)
    free = min(slots - len(running), len(waiting))  # of others nobody makes use
    ends = [*running, *([0.0] * free)]
    heapify(ends)
    for seconds in waiting:
        heapreplace(ends, ends[0] + seconds)
    return max(ends, default=0.0)


def width_of(paces: Sequence[float], seen: float) -> float:
    """By which share the time may be shorter or longer, after `seen` tasks; `paces` are those that ended."""
    spread = _spread(paces) if len(paces) >= 3 else USUAL_SPREAD
    return min(WIDEST, NARROWEST + spread / sqrt(seen))


def _spread(paces: Sequence[float]) -> float:
    """Their standard deviation relative to their mean; statistics.pstdev is exact, and slow."""
    mean = fmean(paces)
    return sqrt(fmean([(pace - mean) ** 2 for pace in paces])) / mean if mean else USUAL_SPREAD
