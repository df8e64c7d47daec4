"""C1: no acknowledged write is lost.

At the end every owner's context covers the dot of every acknowledged write.  Before the end, a read of R
owners that began after a strict write was acknowledged covers it too (r + w > n).  Covering is enough: a
later write may have replaced the value, but nothing may have forgotten it.  A write that asked for memory
only may be forgotten by the crash of a holder, one that asked for the page cache by a power cut; in the end
it is known everywhere all the same if one of its holders has forgotten nothing.

The receipt of a write says what was asked for: it is not weak unless a lower level than the keyspace's W was,
and names w owners, each once and as durable as was asked; hints are told and do not count.  Other checkers
skip weak writes by the receipt's own word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ringmill.cluster.quorum.receipt import Durability
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History, Operation, covers, was_over

__all__ = ["check_before_quiet", "check_damaged", "check_durability", "check_receipts"]

_AT_W: Final = ("", "all")
_DURABILITIES: Final = tuple(Durability)  # from weak to strong


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
                if was_over(write, read) and not covers(read.seen, write.dot):
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


def check_receipts(history: History) -> Iterator[Violation]:
    for write in [*history.operations, *history.scan_writes]:
        if write.is_write and write.is_ok and (wrong := _wrong(write, history.default_w)):
            lines = ", ".join(f"{each.node} ({each.role} {each.durability})" for each in write.replicas)
            story = f"the receipt of {write.kind} {write.dot} {wrong}: w={write.w}, {lines or 'nobody'}"
            yield Violation("C1", write.key, story, (write.index,))


def _wrong(write: Operation, default_w: int) -> str:
    """What is wrong with a receipt; "" when nothing is, or when the level that was asked for is not known."""
    is_at_w = write.level in _AT_W
    owners = [each for each in write.replicas if each.role == "owner"]
    asked = _asked(write)
    weaker = _DURABILITIES[: _DURABILITIES.index(asked)]
    stories = {
        "is weak, and no lower level was asked for": write.is_weak and is_at_w,
        f"counts to less than the keyspace's {default_w}": is_at_w and write.w < default_w,
        "names another role": any(each.role not in ("owner", "hinted") for each in write.replicas),
        "names a node twice": len({each.node for each in write.replicas}) < len(write.replicas),
        f"names {len(owners)} owners": len(owners) < write.w,
        f"counts less than {asked}": any(each.durability in weaker for each in owners),
    }
    return "" if write.level is None else next((story for story, so in stories.items() if so), "")


def _asked(write: Operation) -> Durability:
    if write.is_synced:
        return Durability.SYNCED
    return Durability.BUFFERED if write.is_buffered else Durability.MEMORY
