"""What one simulated run is made of: sizes, levels, which kinds of fault may fire.

A run is the pair (seed, options); the same pair gives the same run.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringmill.simulator.faults import KINDS

__all__ = ["RunOptions"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a run.  Times in seconds of virtual time."""

    nodes: int = 5
    operations: int = 100
    sessions: int = 4
    keys: int = 8  # one of them hot; in one run of eight, eight times as many
    partitions: int = 16
    n: int = 3
    w: int = 2
    r: int = 2
    faults: tuple[str, ...] = KINDS  # kinds that may be drawn
    safeguards_off: tuple[str, ...] = ()  # ablations: simulator/ablations.py
    load_s: float = 4.0  # faults begin within so many seconds
    longest_s: float = 60.0  # the phase under faults ends here at the latest
    quiet_s: float = 120.0  # convergence is due this long after the last fault
    task_pause_s: float | None = None  # jobs: the longest stop of a task; None draws it
    repeats_forwards: bool = False  # links may duplicate also what must be heard once
    only_faults: tuple[int, ...] | None = None  # of the drawn faults, the indexes to keep: shrinking
    only_operations: tuple[int, ...] | None = None  # of the drawn operations, likewise
