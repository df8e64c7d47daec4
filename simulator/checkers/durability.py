"""C1: no acknowledged write is lost.

At the end every owner's context covers the dot of every acknowledged write.  Before the end, a strict read
that began after a strict write was acknowledged covers it too (r + w > n).  Covering is enough: a later
write may have replaced the value, but nothing may have forgotten it.
"""

from __future__ import annotations

from collections.abc import Iterator

from simulator.checkers.violation import Violation
from simulator.history import History, Operation, covers

__all__ = ["check_before_quiet", "check_durability"]


def check_durability(history: History) -> Iterator[Violation]:
    """Every owner remembers every acknowledged write.  O(writes x owners)."""
    finals = history.finals_by_key()
    for key, operations in history.by_key().items():
        for write in _acknowledged(operations):
            for final in finals.get(key, []):
                if not covers(final.seen, write.dot):
                    yield Violation(
                        "C1",
                        key,
                        f"{write.kind} {write.dot} was acknowledged by {_who(write)}, "
                        f"but {final.node} does not know it at the end",
                        (write.index,),
                    )


def check_before_quiet(history: History) -> Iterator[Violation]:
    """Every strict read knows every strict write that was acknowledged before it began."""
    for key, operations in history.by_key().items():
        writes = [write for write in _acknowledged(operations) if not write.is_weak]
        for read in operations:
            if read.is_write or not read.is_ok or read.is_weak:
                continue
            for write in writes:
                if (
                    write.returned is not None
                    and write.returned < read.invoked
                    and not covers(read.seen, write.dot)
                ):
                    yield Violation(
                        "C1",
                        key,
                        f"a read by {read.session} misses {write.dot}, acknowledged before it began",
                        (write.index, read.index),
                    )


def _acknowledged(operations: list[Operation]) -> list[Operation]:
    return [operation for operation in operations if operation.is_write and operation.is_ok]


def _who(write: Operation) -> str:
    return ", ".join(f"{replica.node} {replica.durability}" for replica in write.replicas) or "nobody named"
