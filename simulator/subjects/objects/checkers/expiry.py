"""C15: a value with a ttl is shown until it expires, and not after that.

Expiry counts from the moment its coordinator logged the write, by the one clock of the run.  Nodes judge by
the median of their wall clocks, which they know up to the way of a message; a window around the moment of
expiry is left open for that.  Judged in runs in which no clock moved, and at most one was wrong while all
nodes could be asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import Coordinated, History, Operation, covers

__all__ = ["check_expiry"]

WINDOW_S: Final = 0.6
_MOVED: Final = frozenset(("clock_jump", "clock_drift", "host_clock_step"))
_HARMLESS: Final = frozenset(("skewed_clock", "duplicate", "reorder", "disk_slow", "late_work"))


def check_expiry(history: History) -> Iterator[Violation]:
    if history.faults & _MOVED or ("skewed_clock" in history.faults and not history.faults <= _HARMLESS):
        return
    finals = history.finals_by_key()
    logged = {(write.key, write.value): write for write in history.coordinated}
    for key, operations in history.by_key().items():
        kept = {dot for final in finals.get(key, ()) for dot in final.dots}
        for put in operations:
            write = logged.get((key, put.value))
            if put.ttl_s is None or put.kind != "put" or write is None:
                continue
            for read in operations:
                if not read.is_write and read.is_ok:
                    yield from _judged(put, write, read, is_kept=write.dot in kept)


def _judged(put: Operation, write: Coordinated, read: Operation, *, is_kept: bool) -> Iterator[Violation]:
    assert put.ttl_s is not None and read.returned is not None
    expires = write.at + put.ttl_s
    is_shown = any(version.value == put.value for version in read.siblings)
    if is_shown and read.invoked > expires + WINDOW_S:
        story = f"a read shows {put.value!r} {read.invoked - expires:.3f} s after it expired"
    elif is_kept and not is_shown and covers(read.seen, write.dot) and read.returned < expires - WINDOW_S:
        story = f"a read hides {put.value!r} {expires - read.returned:.3f} s before it expires"
    else:
        return
    yield Violation("C15", put.key, story, (put.index, read.index))
