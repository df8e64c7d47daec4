"""C2: once faults have ended, all owners of a key hold the same."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.checkers.violation import Violation
from simulator.history import History

__all__ = ["check_convergence"]


def check_convergence(history: History) -> Iterator[Violation]:
    for key, finals in history.finals_by_key().items():
        first = finals[0]
        for other in finals[1:]:
            if dict(other.seen) != dict(first.seen) or other.dots != first.dots:
                yield Violation(
                    "C2",
                    key,
                    f"{first.node} holds {list(first.dots)} and {other.node} {list(other.dots)} at the end",
                )
