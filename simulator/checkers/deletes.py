"""C6: what was deleted, or replaced, never comes back.

No strict read that began after a write with a context was acknowledged shows a dot that the context covers.
A receipt's own context counts as one: it says that the written value was the only one left.
"""

from __future__ import annotations

from collections.abc import Iterator

from simulator.checkers.violation import Violation
from simulator.history import History, Operation, Vector, covers

__all__ = ["check_deletes"]


def check_deletes(history: History) -> Iterator[Violation]:
    for key, operations in history.by_key().items():
        for write in operations:
            replaced = _replaced_by(write)
            if replaced is None or write.returned is None or write.is_weak:
                continue
            for read in operations:
                if read.is_write or not read.is_ok or read.is_weak or read.invoked <= write.returned:
                    continue
                for version in read.siblings:
                    if version.dot != write.dot and covers(replaced, version.dot):
                        yield Violation(
                            "C6",
                            key,
                            f"a read shows {version.dot} after {write.kind} {write.dot} had replaced it",
                            (write.index, read.index),
                        )


def _replaced_by(write: Operation) -> Vector | None:
    if not write.is_write or not write.is_ok or write.is_blind:
        return None
    return write.given if write.given is not None else (write.seen or None)
