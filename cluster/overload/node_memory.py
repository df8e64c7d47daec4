"""What a node does not begin, and what it ends, while little memory is left to its machine or its group.

Pure but for `read`, which is called at most every LOOK_S.  Below a sixteenth (at most 512 MiB) the node is
short of memory: no task begins there.  It is well again once half as much more is left, and has been for
HOLD_S, so that work does not come and go with each task that ends.  Below half of that bound it is nearly
out: it ends a task before the kernel ends whatever it likes.

Rule J34: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ringmill.cluster.ports import Clock, MemoryLeft

__all__ = ["LOOK_S", "NodeMemory", "nothing_told"]

LOOK_S: Final = 0.25
"""A task that takes a GiB a second takes half of the largest bound meanwhile."""
HOLD_S: Final = 5.0
_SHARE: Final = 16  # a sixteenth: as much as a memtable has of a small machine
_MOST_BYTES: Final = 512 << 20
_MIB: Final = 1 << 20


def nothing_told() -> Sequence[MemoryLeft]:
    """For where nobody tells."""
    return ()


def _bound(left: MemoryLeft) -> int:
    return min(left.of_bytes // _SHARE, _MOST_BYTES)


def _by_bound(left: MemoryLeft) -> float:
    return left.left_bytes / max(1, _bound(left))


class NodeMemory:
    """`read` tells of the machine and of the groups: the one that is nearest its bound counts."""

    def __init__(self, read: Callable[[], Sequence[MemoryLeft]], clock: Clock) -> None:
        self._read, self._clock = read, clock
        self._read_at = self._low_at = float("-inf")
        self._least: MemoryLeft | None = None
        self._is_short = False

    @property
    def is_short(self) -> bool:
        """Whether no task is to begin now."""
        self._look()
        return self._is_short

    @property
    def is_nearly_out(self) -> bool:
        """Whether a task is to end now."""
        self._look()
        return self._least is not None and _by_bound(self._least) < 1 / 2

    @property
    def left(self) -> MemoryLeft | None:
        """Of the one that counts, at the last look."""
        self._look()
        return self._least

    @property
    def reason(self) -> str:
        """Why no task begins, a part of a sentence; "" while any may."""
        if not self.is_short or self._least is None:
            return ""
        bound, least = _bound(self._least), self._least
        return (
            f"its {least.whose} has {least.left_bytes // _MIB} MiB of {least.of_bytes // _MIB} MiB of memory "
            f"left; tasks begin again when {bound * 3 // 2 // _MIB} MiB have been left for {HOLD_S:g} s"
        )

    def _look(self) -> None:
        now = self._clock.monotonic()
        if now - self._read_at < LOOK_S:
            return
        self._read_at = now
        self._least = min(self._read(), key=_by_bound, default=None)
        if self._least is None:
            self._is_short = False
            return
        share = _by_bound(self._least)
        if share < (3 / 2 if self._is_short else 1):
            self._is_short, self._low_at = True, now
        elif now - self._low_at >= HOLD_S:
            self._is_short = False
