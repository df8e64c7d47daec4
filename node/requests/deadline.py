"""The time left of one request, on this node's boot clock: it goes on while the machine sleeps or the process
is stopped.  What travels is always the time left (rule D1).

request_limits.py decides how much that is; cluster/deadline_wheel.py ends what is out of time.
"""

from __future__ import annotations

from typing import NamedTuple

from ringmill.cluster.ports import Clock

__all__ = ["Deadline"]


class Deadline(NamedTuple):
    allowed_s: float
    ends_at: float
    clock: Clock

    @classmethod
    def after(cls, allowed_s: float, clock: Clock) -> Deadline:
        return cls(allowed_s, clock.boottime() + allowed_s, clock)

    @property
    def left_s(self) -> float:
        """Seconds left, never below 0."""
        left_s = self.ends_at - self.clock.boottime()
        return left_s if left_s > 0.0 else 0.0
