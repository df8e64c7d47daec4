"""The progress of an attempt: the task sets it, and the caller of the task reads it.

Nothing is pushed, because a kernel would report too rarely from slow code and too often from fast code.  The
caller makes a Progress, passes it to the task and reads it at any time, also from another thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures, PhaseTimes, TaskMeter

__all__ = ["RECORD_MARK", "AttemptProgress", "Progress", "record_at"]

RECORD_MARK: Final = ".at-record"
"""The file in the folder that an attempt works in which says at which record of its split map is, as 8 bytes
little-endian: 1 for the first, 0 between two.  It outlives a process that ends within map."""
_MARK_BYTES: Final = 8
_MOST_RECORDS: Final = 1 << 40

_MOST_BYTES: Final = 1 << 53
_MOST_CHARS: Final = 2000


@dataclass(frozen=True, slots=True)
class AttemptProgress:
    """Of the bytes that an attempt will read."""

    bytes_done: int = 0
    bytes_total: int = 0
    status: str = ""  # the last status that the job's code set
    position: str = ""  # the record or group handed to it last

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: the fields in their order."""
        status, position = self.status[:_MOST_CHARS], self.position[:_MOST_CHARS]
        return [self.bytes_done, self.bytes_total, status, position]

    @classmethod
    def from_wire(cls, said: Any) -> AttemptProgress:
        """Decode the progress from a task process, which user code may have forged.  Raises ValueError."""
        match said:
            case [int(done), int(total), str(status), str(position)] if _are_counts(done, total):
                return cls(done, total, status[:_MOST_CHARS], position[:_MOST_CHARS])
            case _:
                raise ValueError("no progress")


def _are_counts(*values: int) -> bool:
    return all(type(each) is int and 0 <= each <= _MOST_BYTES for each in values)


class Progress:
    """Of one attempt; `phases` says what it is at."""

    def __init__(
        self, meter: TaskMeter | None = None, at_record: Callable[[int], None] = lambda _: None
    ) -> None:
        """`at_record` is told before map gets a record that may be set aside, and 0 once map has ended."""
        self.at_record = at_record
        self._look: Callable[[], AttemptProgress] = AttemptProgress
        self._meter = meter or TaskMeter()
        self._cpu_before_s = self._meter.cpu_s()
        self.phases = PhaseTimes(self._meter.now_s)

    def follow(self, look: Callable[[], AttemptProgress]) -> None:
        """From now on `look` tells; it may be called from any thread."""
        self._look = look

    def now(self) -> AttemptProgress:
        return self._look()

    def figures(self) -> AttemptFigures:
        """What the attempt, which is over, has taken since this was made."""
        spent = self.phases.end()
        return AttemptFigures(spent, self._meter.cpu_s() - self._cpu_before_s, self._meter.peak_bytes())


def record_at(mark: bytes) -> int:
    """The record that a mark names; 0 for none, and for what is no mark: user code may have forged it."""
    number = int.from_bytes(mark, "little") if len(mark) == _MARK_BYTES else 0
    return number if number <= _MOST_RECORDS else 0
