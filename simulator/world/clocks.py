"""The Clock door of one simulated node: virtual time seen through a bad clock.

`monotonic` and `boottime` follow the loop, because timers do, `boottime` from a start of its own; `wall` has
an offset, a drift and jumps of its own.
"""

from __future__ import annotations

from ringmill.simulator.world.virtual_loop import VirtualLoop

__all__ = ["START_OF_TIME", "SimulatedClock"]

START_OF_TIME = 1_800_000_000.0
"""Wall clock at virtual time 0, seconds since 1970: a fixed day, so that runs repeat."""


class SimulatedClock:
    def __init__(
        self, loop: VirtualLoop, *, offset_s: float = 0.0, drift: float = 0.0, booted_s: float = 0.0
    ) -> None:
        self._loop = loop
        self._booted_s = booted_s
        self._offset_s = offset_s
        self._drift = drift
        self.first_ahead: float | None = None
        """When somebody set it forwards first, on the loop's clock."""

    def wall(self) -> float:
        return START_OF_TIME + self._loop.time() * (1.0 + self._drift) + self._offset_s

    def drift_by(self, drift: float) -> None:
        """From now on gain this many seconds per second; the present reading stays."""
        self._offset_s -= self._loop.time() * (drift - self._drift)
        self._drift = drift

    def monotonic(self) -> float:
        return self._loop.time()

    def boottime(self) -> float:
        return self._booted_s + self._loop.time()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back."""
        if seconds > 0 and self.first_ahead is None:
            self.first_ahead = self._loop.time()
        self._offset_s += seconds

    @property
    def offset_s(self) -> float:
        """How far the wall clock is ahead of true time."""
        return self.wall() - START_OF_TIME - self._loop.time()

    def set_right(self, offset_s: float) -> None:
        """Set the wall clock to what most others say, and let it gain nothing from now on."""
        self._drift, self._offset_s = 0.0, offset_s
