"""How long a job will still take, as an interval: from the pace of tasks that are done or run.

Pure.  What a stage has left is the work of its tasks over the slots that it has; work goes by bytes.  Reduces
that have not begun are guessed from what the maps have left for them so far, at a pace that is usual for
reduces, in wide bounds.  The interval narrows with every task that ends.

Of a chain, a round that has not begun takes what the rounds before it took.  What a later job reads is not
known: between next to nothing and twice the longest stage so far is told of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean
from typing import Final

from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.task_state import AttemptState, Task
from ringmill.cluster.mapreduce.outputs import MapOutput
from ringmill.cluster.mapreduce.summary.stage_model import stage_seconds, width_of

__all__ = ["TimeLeft", "time_left"]

LEAST_SEEN: Final = 0.05
"""Of one task; before so much of it is done nothing can be said."""
OWN_PACE_FROM: Final = 0.1
"""The share of a running task from which on its own pace counts, and not that of others."""
REDUCE_BYTES_A_S: Final = (150e6, 40e6, 10e6)
"""Of decoded input: at best, usually, at worst.  Measured with word count, index, sort and join."""
REDUCE_TASK_S: Final = (0.02, 0.04, 0.15)
"""What every reduce costs, however small: at best, usually, at worst."""
SLICES_LOOKED_AT: Final = 20_000
"""Of the maps' output, evenly spread: some milliseconds, however many tasks there are."""

LATER_STAGE: Final = 2.0
"""What a stage of a job that has not begun takes at most, in times of the longest stage so far."""
WIDE: Final = 4.0
"""Units of a most from which on a least of less than one unit is not told."""

_UNITS: Final = ((3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """Probably between these, in seconds; more than nothing, as long as the job is not over."""

    least_s: float
    most_s: float

    def __str__(self) -> str:
        """ "12-18 s left", "up to 4 min left" when it may be far less; never "0 s left"."""
        size, unit = next(each for each in _UNITS if self.most_s > 2 * each[0] or each is _UNITS[-1])
        if self.least_s < size < self.most_s / WIDE:
            return f"up to {ceil(self.most_s / size)} {unit} left"
        least = max(1, int(self.least_s / size))
        most = max(least, ceil(self.most_s / size))
        return f"{least}-{most} {unit} left" if least < most else f"{most} {unit} left"


def time_left(machine: JobMachine, now: float, *, asks: bool = False) -> TimeLeft | None:
    """None when nothing can be said: before anything has moved, while the output is made visible, while the
    job is paused, and between two stages of a chain.  `asks` says that a function may end the rounds that a
    chain is at."""
    if machine.state != "RUNNING" or machine.is_paused:
        return None
    slots = _slots(machine)
    maps = _stage_left(machine.maps, slots, now)
    if maps is None:
        return None
    reduces = _stage_left(machine.reduces, slots, now) if machine.maps_done else None
    if reduces is None:
        reduces = _reduces_guessed(machine, slots)
    least_s, most_s = maps[0] + reduces[0], maps[1] + reduces[1]
    if machine.chain.links:
        after = _stages_after(machine, now, (least_s, most_s), asks=asks)
        least_s, most_s = least_s + after[0], most_s + after[1]
    return TimeLeft(max(0.1, least_s), max(0.1, most_s))


def _stages_after(
    machine: JobMachine, now: float, present: tuple[float, float], *, asks: bool
) -> tuple[float, float]:
    """At least and at most, of stages that have not begun; `present` is what the one at work has left."""
    chain = machine.chain
    over = chain.over[: chain.place.passed]
    ends = [each.ended_at for each in over]
    took = [end - began for began, end in zip([0.0, *ends], ends, strict=False)]
    spent_s = max(0.0, now - ends[-1]) if ends else now
    whole = spent_s + present[0], spent_s + present[1]
    link = chain.links[chain.place.link]
    rounds = [each for each, stage in zip(took, over, strict=True) if stage.link == chain.place.link]
    if rounds:
        width = width_of(rounds, len(rounds))
        whole = fmean(rounds) * (1 - width), fmean(rounds) * (1 + width)
    more = link.most - 1 - chain.place.round
    surely = 0 if asks or link.until else more
    later = sum(each.most for each in chain.links[chain.place.link + 1 :])
    return surely * whole[0], more * whole[1] + later * LATER_STAGE * max(*took, *whole)


def _slots(machine: JobMachine) -> int:
    """How many attempts run at once.  One canary, and the last of a stage, leave slots empty."""
    tasks = machine.reduces if machine.maps_done else machine.maps
    running = sum(task.winner is None and task.is_running for task in tasks)
    is_full = any(task.is_waiting for task in tasks) and any(task.winner for task in tasks)
    return max(1, running, 0 if is_full else len(machine.workers_up))


def _stage_left(tasks: Sequence[Task], slots: int, now: float) -> tuple[float, float] | None:
    """At least and at most, in seconds; None when nothing has moved."""
    if all(task.winner is not None for task in tasks):
        return 0.0, 0.0
    paces, seen, seen_s, seen_work = [], 0.0, 0.0, 0.0
    running: list[tuple[float, float, float]] = []  # work, share done, seconds
    waiting: list[float] = []
    for task in tasks:
        work = max(1.0, task.size)
        if task.winner is not None:
            paces.append(task.winner.seconds / work)
            seen, seen_s, seen_work = seen + 1, seen_s + task.winner.seconds, seen_work + work
            continue
        share, spent_s = _furthest(task, now)
        if not spent_s:
            waiting.append(work)
            continue
        running.append((work, share, spent_s))
        seen, seen_s, seen_work = seen + share, seen_s + share * spent_s, seen_work + share * share * work
    if seen < LEAST_SEEN or not seen_work:
        return None
    pace = seen_s / seen_work
    ends = [_running_left(*each, pace) for each in running]
    likely_s = stage_seconds(ends, [pace * work for work in waiting], slots)
    width = width_of(paces, max(seen, LEAST_SEEN))
    return likely_s * (1 - width), likely_s * (1 + width)


def _furthest(task: Task, now: float) -> tuple[float, float]:
    """The share done and the seconds of the running attempt that is furthest; zeros when none runs."""
    running = [each for each in task.attempts if each.state is AttemptState.RUNNING]
    if not running:
        return 0.0, 0.0
    best = max(running, key=lambda each: (each.bytes_done, -each.began_at))
    share = min(1.0, best.bytes_done / task.size) if task.size else 0.0
    return share, max(1e-6, now - best.began_at)


def _running_left(work: float, share: float, spent_s: float, pace: float) -> float:
    if share >= OWN_PACE_FROM:
        return spent_s * (1 - share) / share
    return max(pace * work - spent_s, spent_s / 10)


def _reduces_guessed(machine: JobMachine, slots: int) -> tuple[float, float]:
    """At least and at most, for reduces that have not moved."""
    outputs = [task.winner.output for task in machine.maps if task.winner is not None]
    known = [each for each in outputs if isinstance(each, MapOutput)]
    known = known[:: 1 + len(known) * len(machine.reduces) // SLICES_LOOKED_AT]
    if not known or not machine.reduces:
        return 0.0, 0.0
    grown = len(machine.maps) / len(known)
    sizes = [
        grown * sum(output.partitions[reduce.index].raw_bytes for output in known)
        for reduce in machine.reduces
    ]
    at_once = min(slots, len(sizes))
    bounds = []
    for bytes_a_s, task_s in zip(REDUCE_BYTES_A_S, REDUCE_TASK_S, strict=True):
        times = [size / bytes_a_s + task_s for size in sizes]
        bounds.append(max(*times, sum(times) / at_once))
    best_s, usual_s, worst_s = bounds
    return (best_s + usual_s) / 2, (usual_s + worst_s) / 2
