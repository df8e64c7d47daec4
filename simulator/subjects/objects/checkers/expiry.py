"""C15: a value with a ttl is shown until it expires, and not after that, and readers are told how long.

Expiry counts from the moment its coordinator logged the write, by the one clock of the run; a touch is a
write of its own.  Nodes judge by the median of their wall clocks, which they know up to the way of a message;
a window around the moment of expiry is left open for that.  Judged in runs in which no clock moved, and at
most one was wrong while all nodes could be asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    logged = {(each.key, each.value): each for each in history.coordinated if not each.is_touch}
    by_dot = {(each.key, each.dot): each for each in history.coordinated if each.is_touch}
    for key, operations in history.by_key().items():
        kept = {dot for final in finals.get(key, ()) for dot in final.dots}
        is_touched = any(each.kind == "touch" for each in operations)
        reads = [read for read in operations if not read.is_write and read.is_ok]
        for written in operations:
            if written.kind == "put":
                write = logged.get((key, written.value))
            else:
                write = by_dot.get((key, written.dot))
            if write is not None and written.ttl_s is not None:
                yield from _judge(written, write, reads, is_kept=write.dot in kept, is_touched=is_touched)
            elif write is not None and written.kind == "touch":
                yield from _endless(written, write, reads)


def _judge(
    written: Operation, write: Coordinated, reads: Sequence[Operation], *, is_kept: bool, is_touched: bool
) -> Iterator[Violation]:
    """Judge the reads of a write that expires.  A touch lets its value live longer, under another dot."""
    assert written.ttl_s is not None
    expires = write.at + written.ttl_s
    for read in reads:
        assert read.returned is not None
        shown = [version for version in read.siblings if version.value == write.value]
        mine = [version for version in shown if version.dot == write.dot]
        before_s = expires - read.returned
        if (mine if is_touched else shown) and read.invoked > expires + WINDOW_S:
            story = f"a read shows {write.value!r} {read.invoked - expires:.3f} s after it expired"
        elif is_kept and not shown and covers(read.seen, write.dot) and before_s > WINDOW_S:
            story = f"a read hides {write.value!r} {before_s:.3f} s before it expires"
        elif mine and not _is_right(mine[0].ttl_s, before_s, expires - read.invoked):
            story = (
                f"a read is told of {mine[0].ttl_s} s for {write.value!r}, {before_s:.3f} s before it expires"
            )
        else:
            continue
        yield Violation("C15", written.key, story, (written.index, read.index))


def _is_right(told_s: float | None, least_s: float, most_s: float) -> bool:
    return told_s is not None and max(0.0, least_s) - WINDOW_S <= told_s <= max(0.0, most_s) + WINDOW_S


def _endless(written: Operation, write: Coordinated, reads: Sequence[Operation]) -> Iterator[Violation]:
    """Find reads that show an expiry after a touch without a ttl."""
    for read in reads:
        for version in read.siblings:
            if version.dot == write.dot and version.ttl_s is not None:
                story = f"{write.value!r} expires in {version.ttl_s:.3f} s, which a touch has ended"
                yield Violation("C15", written.key, story, (written.index, read.index))
