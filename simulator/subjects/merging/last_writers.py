"""What a run asks of a keyspace with the policy `lww`, and V3: the newest of the values left decides.

A read shows one value at most.  Of all that was acknowledged before it began nothing is newer, by hybrid
time, than what it shows, also no delete; and it shows something unless a delete may be newer than all puts.
This holds where no clock was wrong: else a write may get an older stamp than what it replaces (rule V2).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from ringmill.client.checked.product_faults import is_product_fault
from ringmill.simulator.checkers.promptness import late_calls
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History, was_over

__all__ = [
    "LAST_KEY",
    "LAST_SPACE",
    "LAST_WRITERS",
    "LastCall",
    "LastKind",
    "PlannedLast",
    "check_last",
    "draw_last",
]

LastKind = Literal["put", "delete", "get"]

LAST_SPACE: Final = "lasts"
LAST_KEY: Final = b"last"
LAST_WRITERS: Final = ("v0", "v1", "v2")
_CALLS: Final = 60
_CLOCKS: Final = frozenset(("clock_jump", "clock_drift", "host_clock_step", "skewed_clock"))


@dataclass(frozen=True, slots=True)
class PlannedLast:
    """Its index is part of what a put writes."""

    index: int
    session: str
    kind: LastKind
    pause_s: float


@dataclass(slots=True)
class LastCall:
    """One call of one client.  No other call of the run has its `value`; `time` is the stamp that its receipt
    tells, `shown` what a read was shown, with the stamps."""

    session: str
    kind: LastKind
    key: bytes
    value: bytes
    invoked: float
    returned: float | None = None
    outcome: Literal["ok", "failed", "unknown"] = "unknown"
    time: int = 0
    holders: tuple[str, ...] = ()  # owners that acked
    shown: tuple[tuple[bytes, int], ...] = ()
    weak: bool = False
    error: str = ""
    is_of_core: bool = False  # asked of a healed core, which owes an answer
    timeout_s: float | None = None
    given_up: float | None = None


def draw_last(draws: Random) -> list[PlannedLast]:
    """In the order in which each client makes them."""
    pause_s = draws.choice((0.005, 0.02, 0.1))
    kinds: tuple[LastKind, ...] = ("put", "delete", "get")
    return [
        PlannedLast(
            index,
            draws.choice(LAST_WRITERS),
            draws.choices(kinds, (5, 4, 5))[0],
            2 * pause_s * draws.random(),
        )
        for index in range(_CALLS)
    ]


def check_last(calls: Sequence[LastCall], history: History) -> Iterator[Violation]:
    is_damaged = bool(history.faults & history.spoiling)
    for call, story in late_calls(calls):
        yield Violation("C22", call.key, f"{call.kind} of {call.session} {story}")
    for call in calls:
        if is_product_fault(call.error, is_damaged=is_damaged):
            yield Violation("C22", call.key, f"{call.kind} ended with {call.error}")
        if call.is_of_core and call.outcome != "ok":
            yield Violation("C17", call.key, f"{call.kind} ended as {call.outcome}: {call.error}")
    writes = [call for call in calls if call.kind != "get" and call.outcome != "failed"]
    for read in calls:
        if read.kind == "get" and read.outcome == "ok":
            for story in _wrong(read, writes):
                yield Violation("C25", read.key, f"{read.session} at {read.invoked:.3f} s {story}")
            if not (read.weak or history.faults & _CLOCKS):
                for story in _not_last(read, writes, {*history.lost, *history.damaged}):
                    yield Violation("C25", read.key, f"{read.session} at {read.invoked:.3f} s {story}")


def _wrong(read: LastCall, writes: Sequence[LastCall]) -> Iterator[str]:
    if len(read.shown) > 1:
        yield f"is shown {len(read.shown)} values"
    begun = [write.value for write in writes if write.kind == "put" and not _is_later(write, read)]
    for value, _ in read.shown:
        if value not in begun:
            yield f"is shown {value!r}, which nobody had put"


def _not_last(read: LastCall, writes: Sequence[LastCall], gone: Collection[str]) -> Iterator[str]:
    over = [
        each for each in writes if each.outcome == "ok" and was_over(each, read) and {*each.holders} - {*gone}
    ]
    newest = max(over, key=lambda each: each.time, default=None)
    if newest is None:
        return
    if read.shown:
        value, time = read.shown[0]
        if time < newest.time:
            yield f"is shown {value!r}, and {_told(newest)} is newer"
        return
    deletes = [each for each in writes if each.kind == "delete" and not _is_later(each, read)]
    may_be_newer = any(each.outcome == "unknown" or each.time > newest.time for each in deletes)
    if newest.kind == "put" and not may_be_newer:
        yield f"is shown nothing, and {_told(newest)} is the newest"


def _is_later(write: LastCall, read: LastCall) -> bool:
    return read.returned is not None and write.invoked > read.returned


def _told(write: LastCall) -> str:
    return f"the {write.kind} {write.value!r} of {write.session} at {write.invoked:.3f} s"
