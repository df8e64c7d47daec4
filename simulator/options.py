"""The options of one simulated run: workload, sizes, levels, kinds of fault.

A run is the pair (seed, options); the same pair gives the same run.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SimulationOptions", "usual_options"]


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """Options of a run.  Times in seconds of virtual time."""

    subjects: tuple[str, ...] = ("objects",)  # what is asked of the cluster: simulator/subjects/every.py
    nodes: int = 5
    operations: int = 100  # puts, gets and deletes
    sessions: int = 4  # of clients that ask for them
    keys: int = 8  # one of them hot; in one run of eight, eight times as many
    mix: tuple[str, ...] | None = None  # twists of what is asked for; None draws them
    partitions: int = 16
    n: int = 3
    w: int = 2
    r: int = 2
    faults: tuple[str, ...] | None = None  # kinds that may be drawn; None: all that the subjects stand
    safeguards_off: tuple[str, ...] = ()  # names of ablations
    load_s: float = 4.0  # faults begin within this time
    core: float = 0.2  # share of the runs in which a core of the nodes is healed first
    callbacks: str = "fifo"  # "drawn": also the order of callbacks inside a process, where it is open
    longest_s: float = 60.0  # the phase under faults ends here at the latest
    quiet_s: float = 120.0  # convergence is due this long after the last fault
    task_pause_s: float | None = None  # the longest stop of a task process; None draws it
    repeats_forwards: bool = False  # links may duplicate also what must be heard once
    only_faults: tuple[int, ...] | None = None  # of the drawn faults, the indexes to keep: shrinking
    only_operations: tuple[int, ...] | None = None  # of the drawn operations, likewise


def usual_options(subjects: tuple[str, ...]) -> SimulationOptions:
    """What a run of these subjects is unless it is told otherwise: jobs alone need three nodes only."""
    if "deletes" in subjects:  # faults strike for as long as deletes take to be forgotten
        return SimulationOptions(subjects, load_s=20.0)
    is_wide = "objects" in subjects or any(name in subjects for name in ("sessions", "watches", "sloppy"))
    return SimulationOptions(subjects) if is_wide else SimulationOptions(subjects, nodes=3)
