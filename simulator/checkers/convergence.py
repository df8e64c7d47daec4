"""C2: once faults have ended, all owners of a key hold the same.

At the end, after every key was read from all its owners; and before that, by hints alone, when no node ever
forgot what was in its memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from simulator.checkers.violation import Violation
from simulator.history import Final, History

__all__ = ["check_convergence", "check_hand_over"]


def check_convergence(history: History) -> Iterator[Violation]:
    yield from _differences(history.finals_by_key(), "at the end")


def check_hand_over(history: History) -> Iterator[Violation]:
    """Hints bring every write to every owner, before anybody reads."""
    if not any(history.crashed.values()):
        yield from _differences(history.handed_over_by_key(), "when all hints are delivered")


def _differences(by_key: Mapping[bytes, Sequence[Final]], when: str) -> Iterator[Violation]:
    for key, finals in by_key.items():
        first = finals[0]
        for other in finals[1:]:
            if dict(other.seen) != dict(first.seen) or other.dots != first.dots:
                yield Violation(
                    "C2",
                    key,
                    f"{first.node} holds {list(first.dots)} and {other.node} {list(other.dots)} {when}",
                )
