"""C6: what was deleted, or replaced, never comes back.

No read of R owners that began after a write with a context was acknowledged shows a dot that the context
covers, nor the same value under another dot: then one write was applied twice, around the one that replaced
it.
A touch gives the value another dot; one that began before the write was over may have kept it as a sibling,
under a dot that the write's context does not cover.
A receipt's own context counts as one: it says that the written value was the only one left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History, Operation, Vector, covers, was_over

__all__ = ["check_deletes"]


def check_deletes(history: History) -> Iterator[Violation]:
    for key, operations in history.by_key().items():
        values = _values(operations)
        reads = [read for read in operations if not read.is_write and read.is_ok and not read.is_below]
        touches = [each for each in operations if each.kind == "touch" and each.outcome != "failed"]
        for write in operations:
            replaced = _replaced_by(write)
            if not replaced or write.is_weak or not history.is_firm(write):
                continue
            gone = {value for dot, value in values.items() if dot != write.dot and covers(replaced, dot)}
            if write.kind == "touch" or any(_may_keep(each, write, replaced) for each in touches):
                gone = set()
            for read in reads:
                if was_over(write, read):
                    yield from _come_back(key, write, read, replaced, gone - {write.value})


def _may_keep(touch: Operation, write: Operation, replaced: Vector) -> bool:
    """Whether the touch may have kept a value under a dot that the write knew nothing of."""
    is_known = bool(touch.dot) and covers(replaced, touch.dot)
    return not is_known and (write.returned is None or touch.invoked <= write.returned)


def _come_back(
    key: bytes, write: Operation, read: Operation, replaced: Vector, gone: set[bytes]
) -> Iterator[Violation]:
    for version in read.siblings:
        if version.dot == write.dot:
            continue
        if covers(replaced, version.dot):
            story = f"a read shows {version.dot} after {write.kind} {write.dot} had replaced it"
        elif version.value in gone:
            story = (
                f"a read shows {version.value!r} again, as {version.dot}, after {write.dot} had replaced it"
            )
        else:
            continue
        yield Violation("C6", key, story, (write.index, read.index))


def _values(operations: list[Operation]) -> Mapping[str, bytes]:
    """The value of each dot, as receipts and reads tell it."""
    found = {operation.dot: operation.value for operation in operations if operation.kind == "put"}
    for operation in operations:
        found.update((version.dot, version.value) for version in operation.siblings)
    found.pop("", None)
    return found


def _replaced_by(write: Operation) -> Vector | None:
    """What is gone by this write's own word: its receipt's context, else the one that was handed in."""
    if not write.is_write or not write.is_ok:
        return None
    return write.seen or write.given
