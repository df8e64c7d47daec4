"""C12: a scan returns every key that stayed, once, with all that was acknowledged before it began.

Of each key one client alone writes, one thing after the other.  A key has stayed when a put of it was
acknowledged before the scan began, and no delete may have taken effect since: none was begun behind that put,
and none of those before it has an unknown outcome.  Scans that were given up are judged by what they showed.

The values of a key are compared with the context that came with them (simulator/checkers/shown_values.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Any

from ringmill.simulator.checkers.shown_values import Shown, dots_of_puts, hidden_by_knowledge, hidden_puts
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History, Operation, covers
from ringmill.simulator.scan_history import ScannedItem, ScanRecord

__all__ = ["check_scans"]

Place = Callable[[bytes], Any]
"""Where a key stands in the order of a scan."""


def check_scans(history: History, place: Place) -> Iterator[Violation]:
    writes: dict[bytes, list[Operation]] = {}
    for write in history.scan_writes:
        writes.setdefault(write.key, []).append(write)
    for scan in history.scans:
        yield from _in_order(scan, place)
        for item in scan.items:
            yield from _shown(history, scan, item, writes.get(item.key, []))
        if scan.is_complete:
            yield from _left_out(history, scan, writes)
        elif scan.is_of_core:
            story = f"a scan of the healed core did not end: {scan.errors[-1:]}"
            yield Violation("C17", scan.prefix, story)
        elif scan.is_last:
            story = f"{_name(scan)} did not end, long after healing: {scan.errors[-1:]}"
            yield Violation("C12", scan.prefix, story)
    yield from _hidden(history, writes)


def _in_order(scan: ScanRecord, place: Place) -> Iterator[Violation]:
    for one, other in zip(scan.items, scan.items[1:], strict=False):
        if place(other.key) <= place(one.key):
            yield Violation("C12", other.key, f"{_name(scan)} shows it again or behind {one.key!r}")
    for item in scan.items:
        if not item.key.startswith(scan.prefix):
            yield Violation("C12", item.key, f"{_name(scan)} shows it")


def _shown(
    history: History, scan: ScanRecord, item: ScannedItem, writes: Sequence[Operation]
) -> Iterator[Violation]:
    assert scan.returned is not None, "a scan that shows something has returned"
    begun = {write.value for write in writes if write.invoked < scan.returned and write.outcome != "failed"}
    for value in item.values.values():
        if value not in begun:
            yield Violation("C12", item.key, f"{_name(scan)} shows {value!r}, which nobody had written")
    names = {write.dot: write for write in writes if write.kind == "put" and write.dot}
    for dot, value in item.values.items():
        if dot in names and names[dot].value != value:
            story = f"{_name(scan)} shows {value!r} as {dot}, which was written as {names[dot].value!r}"
            yield Violation("C12", item.key, story, (names[dot].index,))
    for write in _before(history, scan, writes):
        if not covers(item.seen, write.dot):
            story = f"{_name(scan)} misses {write.kind} {write.dot}, acknowledged before it began"
            yield Violation("C12", item.key, story, (write.index,))
        gone = [dot for dot in item.values if dot != write.dot and covers(write.seen, dot)]
        if gone:
            story = f"{_name(scan)} shows {gone[0]}, which {write.kind} {write.dot} had replaced"
            yield Violation("C12", item.key, story, (write.index,))


def _hidden(history: History, writes: Mapping[bytes, Sequence[Operation]]) -> Iterator[Violation]:
    """No scan leaves out a value of a key that it shows, or shows it without any."""
    by_key: dict[bytes, list[Shown]] = {}
    for scan in history.scans:
        for item in scan.items:
            until = inf if scan.returned is None else scan.returned
            shown = Shown(_name(scan), item.seen, item.values, until=until)
            by_key.setdefault(item.key, []).append(shown)
    for key, those in sorted(by_key.items()):
        of_key = writes.get(key, [])
        dots = dots_of_puts(history, key, of_key, those)
        for one, put in hidden_puts(history, those, of_key, dots):
            story = f"{one.who} hides {put.value!r}, which it knows of and no write could have replaced"
            yield Violation("C12", key, story, (put.index,))
        for less, more, dot in hidden_by_knowledge(those, those):
            yield Violation("C12", key, f"{less.who} hides {dot}, which {more.who} shows, knowing no less")


def _left_out(
    history: History, scan: ScanRecord, writes: Mapping[bytes, Sequence[Operation]]
) -> Iterator[Violation]:
    shown = {item.key for item in scan.items}
    for key, of_key in writes.items():
        if key in shown or not key.startswith(scan.prefix) or not _has_stayed(history, scan, of_key):
            continue
        yield Violation("C12", key, f"{_name(scan)} leaves it out")


def _has_stayed(history: History, scan: ScanRecord, writes: Sequence[Operation]) -> bool:
    puts = [write for write in _before(history, scan, writes) if write.kind == "put"]
    if not puts or scan.returned is None:
        return False
    for write in writes:
        is_behind = write.invoked > puts[-1].invoked
        may_count = write.outcome == "unknown" or (write.is_ok and is_behind)
        if write.kind == "delete" and may_count and write.invoked < scan.returned:
            return False
    return True


def _before(history: History, scan: ScanRecord, writes: Sequence[Operation]) -> list[Operation]:
    """Writes that were acknowledged before the scan began, and that nobody may have forgotten."""
    return [
        write
        for write in writes
        if write.is_ok
        and not write.is_weak
        and write.returned is not None
        and write.returned < scan.invoked
        and history.is_firm(write)
    ]


def _name(scan: ScanRecord) -> str:
    return f"a scan of {scan.prefix!r} by {scan.session} at {scan.invoked:.3f}"
