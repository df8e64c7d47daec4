"""How long a thread has waited for a processor core, as Linux counts it (proc(5), /proc/PID/schedstat).

A call that took 8 ms on a busy machine may have waited 0.2 ms for the disk, and the rest for its turn.  Only
the first tells anything of the disk.  A look costs 1.3 us.
"""

from __future__ import annotations

import os

from ringmill.cluster.ports import CoreTime

__all__ = ["CoreWait"]

_SCHEDSTAT = "/proc/thread-self/schedstat"  # nanoseconds that it ran, and that it waited; its turns
_LINE_BYTES = 64


class CoreWait:
    """The wait of one thread: the one that looks first."""

    __slots__ = ("_descriptor", "_is_closed")

    def __init__(self) -> None:
        self._descriptor = -1
        self._is_closed = False

    def so_far_s(self) -> float:
        """Seconds since the thread began; always 0 where the system does not tell, and after `close`."""
        return self.core_time().waited_s

    def core_time(self) -> CoreTime:
        """That, and how long it ran."""
        if self._is_closed:
            return CoreTime()
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(_SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
            ran_ns, waited_ns, *_ = os.pread(self._descriptor, _LINE_BYTES, 0).split()
            return CoreTime(int(ran_ns) * 1e-9, int(waited_ns) * 1e-9)
        except (OSError, ValueError):
            self.close()
            return CoreTime()

    def close(self) -> None:
        self._is_closed = True
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
