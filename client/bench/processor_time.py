"""How much processor time a set of processes has used: the figure to steer by on a shared machine.

A rate says what the machine had to spare that second; processor time an operation says what the work costs.
Both ends of a local cluster are counted alike, children included: those that live, and those that have ended
and were waited for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import psutil

__all__ = ["ProcessorTime", "used_s"]


class ProcessorTime:
    """Seconds of processor time of this process, and of the processes with these pids."""

    def __init__(self, pids: Sequence[int] = ()) -> None:
        self._pids = list(pids)

    def read(self) -> tuple[float, float]:
        """This process's seconds, and those of the others together."""
        return time.process_time(), sum(map(used_s, self._pids))


def used_s(pid: int) -> float:
    """Seconds that a process and its children have used; 0 when it is gone or another user's."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0.0
    return sum(map(_own_s, family))


def _own_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)
