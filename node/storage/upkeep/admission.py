"""Admits writes: none after a failure, only control state while space is low, all more slowly while
compaction is behind.

It holds values and waiters only; the space watch and the upkeep report to it.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.node.storage.upkeep.stats import EngineCounters

__all__ = ["Admission"]

_SHORTEST_PAUSE_S: Final = 0.001
_LONGEST_PAUSE_S: Final = 1.0  # of one writer: what it does not wait for is left to those behind it


class Admission:
    """`failure` is permanent, `log_full` lasts until there is space; `refusal` is the error of an ordinary
    batch."""

    __slots__ = ("_counters", "_has_space", "_rate", "failure", "log_full", "refusal", "unpaced_bytes")

    def __init__(self, counters: EngineCounters) -> None:
        self.failure: RingmillError | None = None
        self.log_full: RingmillError | None = None
        self.refusal: RingmillError | None = None
        self.unpaced_bytes = 0
        self._counters = counters
        self._rate: float | None = None
        self._has_space = asyncio.Event()
        self._has_space.set()

    @property
    def is_open(self) -> bool:
        """Ordinary batches are taken without a wait."""
        return self.refusal is None and not self._rate and self._has_space.is_set()

    @property
    def has_space(self) -> bool:
        """The memtable takes a batch now, or refuses it."""
        return self._has_space.is_set()

    def check(self, *, is_control: bool) -> None:
        """Raises the refusal.  Control state is refused only when nothing can be written at all."""
        refusal = self.failure or self.log_full if is_control else self.refusal
        if refusal is not None:
            raise refusal

    def raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def wait(self, *, is_control: bool) -> None:
        """Return when there is space, and after the pause that the write rate requires.

        Raises the refusal.
        """
        if not self._has_space.is_set():
            self._counters.stalled_writes += 1
            await self._wait_for_space()
        if self.refusal is not None:
            self.check(is_control=is_control)
        if self._rate:
            pause_s = min(self.unpaced_bytes / self._rate, _LONGEST_PAUSE_S)
            if pause_s >= _SHORTEST_PAUSE_S:  # what is less adds up
                self.unpaced_bytes = max(0, self.unpaced_bytes - int(pause_s * self._rate))
                self._counters.slowed_writes += 1
                await asyncio.sleep(pause_s)
                await self._wait_for_space()
                self.check(is_control=is_control)

    async def _wait_for_space(self) -> None:
        """All who wait wake at once; the first of them may fill the memtable again (rule E8)."""
        while not self._has_space.is_set():
            await self._has_space.wait()

    def hold_back(self) -> None:
        """Hold writers while a full memtable waits for the flush of the one before it."""
        self._has_space.clear()

    def refresh(self, short_of_space: RingmillError | None, rate: float | None, *, is_full: bool) -> None:
        """Update the refusal for low space, the write rate (bytes per second) and the state of the
        memtable."""
        self.refusal = self.failure or self.log_full or short_of_space
        if self._rate is None:
            self.unpaced_bytes = 0  # what was written without a rate is no debt
        self._rate = rate
        if self.refusal or (not is_full and rate != 0):
            self._has_space.set()
        else:
            self._has_space.clear()

    def pause(self, error: RingmillError) -> None:
        """Refuse writes: the log met a full disk."""
        self.log_full = error
        self.refusal = self.failure or error
        self._has_space.set()

    def end(self, error: RingmillError) -> None:
        """Refuse all writes from now on."""
        self.failure = self.failure or error
        self.refusal = self.failure
        self._has_space.set()
