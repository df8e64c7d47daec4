"""What an attempt took: the seconds of its phases, processor time, peak memory.

Pure: whoever measures brings the clocks.  A phase is entered some ten times an attempt, never once a record.
Figures are for people; nothing is decided by them.  Wire form: docs/formats/worker_messages.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

__all__ = ["PHASES", "AttemptFigures", "PhaseTimes", "TaskMeter", "measured"]

PHASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "wait": "for a free slot of the node",
        "fetch": "code, and map outputs from other nodes",
        "start": "a task process that has loaded the job",
        "map": "reading the split and calling map",
        "spill": "writing a full buffer",
        "merge": "putting runs together",
        "write": "sorting, combining and writing the output of a map",
        "reduce": "calling reduce and writing its output",
        "sync": "making the part durable",
    }
)
"""In their order, with what the time is spent on."""
_MOST: Final = 1 << 53
_MICRO: Final = 1_000_000
_MOST_CHARS: Final = 100


@dataclass(frozen=True, slots=True)
class AttemptFigures:
    """Of one attempt that has ended.

    `phases` has seconds by phase, in the order of PHASES, without those that were not entered.  `cpu_s` is
    the processor time of the task process alone, `peak_bytes` its resident memory at most; 0 when nobody
    could tell.  `containment` is the level at which it was contained, in words.
    """

    phases: Mapping[str, float] = field(default_factory=dict)
    cpu_s: float = 0.0
    peak_bytes: int = 0
    containment: str = ""

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: [microseconds of each of PHASES, microseconds of processor time, bytes], and
        the level of containment where there is one."""
        times = [_micro(self.phases.get(name, 0.0)) for name in PHASES]
        level = [self.containment] if self.containment else []
        return [times, _micro(self.cpu_s), self.peak_bytes, *level]

    @classmethod
    def from_wire(cls, said: Any) -> AttemptFigures:
        """Decode figures from a task process or a worker, which may have forged them.  Raises ValueError."""
        match said:
            case [[*times], int(cpu), int(peak), *level] if len(times) == len(PHASES):
                are_times = all(type(each) is int and 0 <= each <= _MOST for each in (*times, cpu, peak))
                if are_times and _is_level(level):
                    spent = {name: each / _MICRO for name, each in zip(PHASES, times, strict=True) if each}
                    return cls(spent, cpu / _MICRO, peak, *level)
        raise ValueError("no figures")


def _is_level(rest: list[Any]) -> bool:
    return not rest or (len(rest) == 1 and type(rest[0]) is str and len(rest[0]) <= _MOST_CHARS)


def _micro(seconds: float) -> int:
    return min(_MOST, max(0, round(seconds * _MICRO)))


def _nothing() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class TaskMeter:
    """The clocks of a task process: seconds of a monotonic clock, seconds of processor time, and its peak
    memory in bytes.  Without them everything is 0."""

    now_s: Callable[[], float] = _nothing
    cpu_s: Callable[[], float] = _nothing
    peak_bytes: Callable[[], int] = _nothing


class PhaseTimes:
    """Adds up the time between two calls of `enter`.  `now` is a monotonic clock, in seconds."""

    def __init__(self, now: Callable[[], float] = _nothing) -> None:
        self._now = now
        self._spent: dict[str, float] = {}
        self._phase = ""
        self._since = 0.0

    @property
    def phase(self) -> str:
        """The present one; "" before the first."""
        return self._phase

    def enter(self, phase: str) -> str:
        """Begin a phase, which ends the one before; returns that one, so that it can be resumed."""
        now, former = self._now(), self._phase
        if former:
            self._spent[former] = self._spent.get(former, 0.0) + now - self._since
        self._phase, self._since = phase, now
        return former

    def end(self) -> dict[str, float]:
        """The seconds of each phase."""
        self.enter("")
        return self._spent


def measured(
    outside: Mapping[str, float], inside: AttemptFigures | None, running: str, peak_bytes: int
) -> AttemptFigures:
    """The figures of an attempt, from what its node has measured around the task process and in it.

    `running` is the phase of `outside` in which the process had the task.  What the process itself does not
    account for is its start.  One that has failed, with None for `inside`, told of nothing: then all of it
    counts as `running`.
    """
    if inside is None:
        return AttemptFigures(_added(outside), 0.0, peak_bytes)
    gap = outside.get(running, 0.0) - sum(inside.phases.values())
    around = {**outside, running: 0.0, "start": outside.get("start", 0.0) + max(0.0, gap)}
    return AttemptFigures(_added(around, inside.phases), inside.cpu_s, inside.peak_bytes)


def _added(*all_of_them: Mapping[str, float]) -> dict[str, float]:
    """The seconds of each phase, in the order of PHASES."""
    spent = {name: sum(each.get(name, 0.0) for each in all_of_them) for name in PHASES}
    return {name: seconds for name, seconds in spent.items() if seconds}
