"""C2: once faults have ended, all owners of a key hold the same.

At the end, after every key was read from all its owners; what they hold under one name is the same write.
Before that hints bring a write to every owner, or the comparing of owners, also where the only hint is lost
permanently with its coordinator.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import Final, History, Operation, covers

__all__ = ["check_convergence", "check_hand_over"]


def check_convergence(history: History) -> Iterator[Violation]:
    for key, finals in history.finals_by_key().items():
        first = finals[0]
        for other in finals[1:]:
            differing = [dot for dot in first.dots if dot in other.dots and _differs(dot, first, other)]
            if differing:
                story = f"{first.node} and {other.node} hold different values or expiries as {differing[0]}"
                yield Violation("C2", key, story)
            if dict(other.seen) != dict(first.seen) or other.dots != first.dots:
                yield Violation(
                    "C2",
                    key,
                    f"{first.node} holds {list(first.dots)} and {other.node} {list(other.dots)} at the end",
                )


def _differs(dot: str, one: Final, other: Final) -> bool:
    return one.held.get(dot) != other.held.get(dot)


def check_hand_over(history: History) -> Iterator[Violation]:
    """Hints are delivered, owners compared, and nobody has read yet: every owner knows every write."""
    finals = history.handed_over_by_key()
    for key, operations in history.by_key().items():
        for write in operations:
            if not (write.is_write and write.is_ok and write.is_synced) or _may_be_forgotten(history, write):
                continue
            for final in finals.get(key, []):
                if not covers(final.seen, write.dot):
                    yield Violation(
                        "C2",
                        key,
                        f"{write.kind} {write.dot} never reached {final.node}, though all hints are "
                        "delivered and owners compared",
                        (write.index,),
                    )


def _may_be_forgotten(history: History, write: Operation) -> bool:
    """Whether a write may be forgotten: all its holders have lost some bits, or their disks."""
    return not history.is_firm(write)
