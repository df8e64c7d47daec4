"""C4: nothing is read that was never written, or that was refused for certain.  Values must be unique."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.checkers.violation import Violation
from simulator.history import History

__all__ = ["check_invention"]


def check_invention(history: History) -> Iterator[Violation]:
    for key, operations in history.by_key().items():
        puts = {operation.value: operation for operation in operations if operation.kind == "put"}
        for read in operations:
            for version in read.siblings:
                put = puts.get(version.value)
                if put is None:
                    yield Violation("C4", key, f"read {version.value!r}, which nobody wrote", (read.index,))
                elif put.outcome == "failed":
                    yield Violation(
                        "C4",
                        key,
                        f"read {version.value!r}, whose put failed for certain",
                        (put.index, read.index),
                    )
                elif read.returned is not None and put.invoked > read.returned:
                    yield Violation(
                        "C4", key, f"read {version.value!r} before it was written", (put.index, read.index)
                    )
