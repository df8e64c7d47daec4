"""C4 on a disk that lied about its syncs: what its node holds may be old or gone, but somebody wrote it."""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History

__all__ = ["check_liars"]


def check_liars(history: History) -> Iterator[Violation]:
    written = {
        (operation.key, operation.value) for operation in history.operations if operation.kind == "put"
    }
    for key, value in history.shown_by_liars:
        if (key, value) not in written:
            yield Violation("C4", key, f"a node whose disk lied holds {value!r}, which nobody wrote")
