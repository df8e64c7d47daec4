"""Hybrid logical time: a stamp that people can read as a date and that never goes back on one node.

It orders for people, expiry and last-writer-wins only; what overwrites what is decided by dots.  The bound
of 500 ms binds the stamps this node gives to fresh writes; times met in data are taken as they are and
raise the own clock to at most 500 ms above the wall.

Rules V2, V6 and G3 (docs/protocol/).  Source: Kulkarni et al., "Logical Physical Clocks" (2014).  Layout:
docs/formats/hybrid_time.md.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NewType

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ports import Clock

__all__ = [
    "LAST_TIME",
    "MAX_AHEAD_MS",
    "MOST_JUMPS",
    "ZERO",
    "HybridClock",
    "HybridTime",
    "hybrid_time",
    "millis",
]

HybridTime = NewType("HybridTime", int)
"""Unsigned 64 bits: milliseconds since 1970-01-01 UTC in the upper 48, a logical count in the lower 16."""

ZERO: Final = HybridTime(0)
LAST_TIME: Final = HybridTime((1 << 64) - 1)
"""In the year 10889.  A value may expire later."""
MAX_AHEAD_MS: Final = 500
MOST_JUMPS: Final = 1000  # that are remembered one by one
LOGICAL_BITS: Final = 16


def hybrid_time(ms: int, logical: int = 0) -> HybridTime:
    """The stamp of a millisecond and a logical count below 65,536."""
    assert 0 <= ms < 1 << 48, f"{ms} ms is outside 48 bits"
    assert 0 <= logical < 1 << LOGICAL_BITS, f"logical count {logical} is outside 16 bits"
    return HybridTime(ms << LOGICAL_BITS | logical)


def millis(time: HybridTime) -> int:
    """Milliseconds since 1970-01-01 UTC."""
    return time >> LOGICAL_BITS


class HybridClock:
    """One node's hybrid clock.

    `stamp` refuses once the wall clock has moved against the boot clock by more than 500 ms since it was
    looked at last, and goes on refusing until the wall is back or `accept_jump` says that the new reading is
    right: until then nobody knows which of the two was.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = ZERO
        self._offset_ms = self.offset_ms
        self._median_ms: float | None = None  # of the wall clocks of the cluster, against the own boot clock
        self._earliest_ms: float | None = None  # the earliest of the clocks that were heard
        self._last_expiry_ms = 0
        self._ahead: deque[tuple[float, float]] = (
            deque()
        )  # accepted jumps forwards: when by the boot clock, s

    @property
    def offset_ms(self) -> float:
        """Wall against the clock that also counts sleep, so that a suspended machine has not jumped."""
        return (self._clock.wall() - self._clock.boottime()) * 1000

    @property
    def jumped_ms(self) -> float:
        """How far the wall clock has jumped, 0 when it has not."""
        moved_ms = self.offset_ms - self._offset_ms
        return moved_ms if abs(moved_ms) > MAX_AHEAD_MS else 0.0

    def went_ahead_s(self, within_s: float) -> float:
        """How far the jumps forwards together went that were accepted within this time by the boot clock.

        All clocks may be wrong alike, so what cannot be undone waits for as long as it needs to be old.
        """
        since = self._clock.boottime() - within_s
        return sum(step_s for at, step_s in self._ahead if at > since)

    @property
    def knows_shared_time(self) -> bool:
        """Whether expiry goes by the cluster's clocks already, and not by this node's alone."""
        return self._median_ms is not None

    @property
    def latest(self) -> HybridTime:
        """The highest reading or stamp up to now; no clock is looked at."""
        return self._last

    def follow(self) -> None:
        """Follow slow drift, as of a clock being steered; a jump is not followed."""
        if not self.jumped_ms:
            self._offset_ms = self.offset_ms

    def accept_jump(self) -> None:
        """The wall clock is right as it is now, as far as anybody can tell."""
        if self.jumped_ms > 0:
            self._ahead.append((self._clock.boottime(), self.jumped_ms / 1000))
            if len(self._ahead) > MOST_JUMPS:  # the oldest count for longer than they have to
                (_, older_s), (at, step_s) = self._ahead.popleft(), self._ahead.popleft()
                self._ahead.appendleft((at, older_s + step_s))
        self._offset_ms = self.offset_ms

    def expiry_follows(self, median_ms: float) -> None:
        """From now on values expire by this median of the cluster's wall clocks, each against the own boot
        clock.

        The first median begins anew: what the own clock said alone binds nobody, however far ahead it was.
        """
        if self._median_ms is None:
            self._last_expiry_ms = 0
        self._median_ms = median_ms

    def removals_follow(self, earliest_ms: float) -> None:
        """Until a median is known, what cannot be undone goes by this, the earliest reading of some."""
        self._earliest_ms = earliest_ms

    def wall_ms(self) -> int:
        """This node's own wall clock, milliseconds since 1970."""
        return int(self._clock.wall() * 1000)

    def now(self) -> HybridTime:
        """The present reading; never below an earlier one."""
        wall = self._wall()
        if wall > self._last:  # noqa: PLR1730 - faster than max()
            self._last = wall
        return self._last

    def stamp(self, above: HybridTime = ZERO, floor: HybridTime = ZERO) -> HybridTime:
        """A stamp for a fresh write: above all earlier ones of this node and, within the bound, `above`.

        A stamp lies at most 500 ms ahead of the wall, so a context from a node whose clock ran far ahead
        is not followed.  It is above `floor` without a bound: a watermark was behind the clocks of all owners
        when it was proven (rules P2 and P4).  Raises Unavailable (outcome "failed") after a clock jump.
        """
        self.refuse_after_jump()
        wall = self._wall()
        wanted = max(self._last + 1, wall, floor + 1, min(above + 1, self._ceiling(wall)))
        self._last = HybridTime(wanted)
        return self._last

    def observe(self, seen: HybridTime) -> None:
        """Learn a time met in data or an answer: raises the own clock to at most 500 ms above the wall."""
        if seen > self._last:
            self._last = HybridTime(max(self._last, min(seen, self._ceiling(self._wall()))))

    def expiry_ms(self) -> int:
        """What expiry is judged by, milliseconds since 1970: the median of the cluster's wall clocks, the own
        one until they were compared.  Never below an earlier reading, from the first comparison on."""
        offset_ms = self.offset_ms if self._median_ms is None else self._median_ms
        self._last_expiry_ms = max(self._last_expiry_ms, int(self._clock.boottime() * 1000 + offset_ms))
        return self._last_expiry_ms

    def shared_s(self) -> float:
        """The time by the median of the cluster's wall clocks, seconds since 1970; by the own one until they
        were compared."""
        return (
            self._clock.wall() if self._median_ms is None else self._clock.boottime() + self._median_ms / 1000
        )

    def shared_expiry_ms(self) -> int:
        """What expiry is judged by where that cannot be undone, milliseconds since 1970.

        Until there is a median it is the earliest of the clocks that were heard, and 0, by which nothing has
        expired, while only the own clock tells.
        """
        if self.knows_shared_time:
            return self.expiry_ms()
        if self._earliest_ms is None:
            return 0
        return int(self._clock.boottime() * 1000 + self._earliest_ms)

    def refuse_after_jump(self) -> None:
        """Raise what `stamp` would raise now."""
        if moved_ms := self.jumped_ms:
            raise Unavailable(
                f"the wall clock of this node jumped by {moved_ms:+.0f} ms, more than {MAX_AHEAD_MS} ms, and "
                "the clocks of the others are not known to have moved alike: it coordinates no writes",
                hint="set its clock right; the node goes on by itself within a second",
            )
        self.follow()

    def _wall(self) -> HybridTime:
        return hybrid_time(int(self._clock.wall() * 1000))

    @staticmethod
    def _ceiling(wall: HybridTime) -> int:
        return wall + (MAX_AHEAD_MS << LOGICAL_BITS)
