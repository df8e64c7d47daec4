"""Calls that have waited here past their deadline.

A call that comes too late is refused where it arrives.  One that has to wait before it changes something (for
a lock, for room in the memtable) looks again when its turn has come: whoever asked has asked anew meanwhile,
and work for nobody takes the turn of work for somebody.  Rule D2: docs/protocol/requests.md.
"""

from __future__ import annotations

from ringmill.cluster.errors import DeadlineExceeded
from ringmill.cluster.ports import Clock, Incoming

__all__ = ["check_in_time"]


def check_in_time(incoming: Incoming, clock: Clock) -> None:
    """Raises DeadlineExceeded, with nothing done."""
    if incoming.deadline <= clock.boottime():
        raise DeadlineExceeded(
            f"{incoming.method} waited here past its deadline: nothing was done", outcome="failed"
        )
