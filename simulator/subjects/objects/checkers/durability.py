"""C1: no acknowledged write is lost.

At the end every owner's context covers the dot of every acknowledged write.  Before the end, a read of R
owners that began after a strict write was acknowledged covers it too (r + w > n).  Covering is enough: a
later write may have replaced the value, but nothing may have forgotten it.  A write that asked for memory
only may be forgotten by the crash of a holder, one that asked for the page cache by a power cut; in the end
it is known everywhere all the same if one of its holders has forgotten nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History, Operation, covers

__all__ = ["check_before_quiet", "check_damaged", "check_durability"]


def check_durability(history: History) -> Iterator[Violation]:
    """Every owner remembers every acknowledged write.  O(writes x owners)."""
    finals = history.finals_by_key()
    for key, operations in history.by_key().items():
        for write in operations:
            is_there = history.is_firm(write) or history.is_left(write)
            if not (write.is_write and write.is_ok and is_there):
                continue
            for final in finals.get(key, []):
                if not covers(final.seen, write.dot):
                    yield Violation(
                        "C1",
                        key,
                        f"{write.kind} {write.dot} was acknowledged by {_who(write)}, "
                        f"but {final.node} does not know it at the end",
                        (write.index,),
                    )


def check_damaged(history: History) -> Iterator[Violation]:
    """A node with a damaged or foreign disk shows what it had acknowledged, or nothing at all: an error.

    A hint for it, kept elsewhere, is no ack of its own.  A damaged node is healed by the time it shows: a
    write that damaged nodes alone had held, at a level below the keyspace's W, may be gone then
    (docs/guarantees.md, "Not promised yet").
    """
    operations = history.by_key()
    for final in history.shown_by_lost:
        for write in operations.get(final.key, []):
            has_acked = any(
                replica.node == final.node and replica.role == "owner" for replica in write.replicas
            )
            may_be_gone = final.node in history.damaged and not history.is_firm(write)
            if not has_acked or may_be_gone:
                continue
            if write.is_ok and write.is_synced and not covers(final.seen, write.dot):
                yield Violation(
                    "C1",
                    final.key,
                    f"{final.node} shows a key without {write.dot}, which it had acknowledged, and no error",
                    (write.index,),
                )


def check_before_quiet(history: History) -> Iterator[Violation]:
    """Every read of R owners knows every strict write that was acknowledged before it began."""
    for key, operations in history.by_key().items():
        writes = [write for write in _acknowledged(history, operations) if not write.is_weak]
        for read in operations:
            if read.is_write or not read.is_ok or read.is_below:
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


def _acknowledged(history: History, operations: list[Operation]) -> list[Operation]:
    """Acknowledged writes that nobody may have forgotten."""
    return [write for write in operations if write.is_write and write.is_ok and history.is_firm(write)]


def _who(write: Operation) -> str:
    return ", ".join(f"{replica.node} {replica.durability}" for replica in write.replicas) or "nobody named"
