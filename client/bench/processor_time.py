"""The processor time of a set of processes: the figure to steer by on a shared machine.

A rate depends on what else the machine does; processor time per operation depends on it much less.  Children
are included: those that live, and those that have ended and were waited for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import psutil

__all__ = ["ProcessorTime", "used_s"]


class ProcessorTime:
    """Seconds of processor time of this process, and of the processes with these pids.

    Of one that has ended, and of a family of which some have, it is what was read before.
    """

    def __init__(self, pids: Sequence[int] = ()) -> None:
        self._used = dict.fromkeys(pids, 0.0)

    def read(self) -> tuple[float, float]:
        """Seconds of this process, and of the others together."""
        for pid, before in self._used.items():
            self._used[pid] = max(before, used_s(pid))
        return time.process_time(), sum(self._used.values())


def used_s(pid: int) -> float:
    """Seconds that a process and its children have used; 0 when it cannot be read."""
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
