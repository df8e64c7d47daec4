"""C4: nothing is read that was never written, or that was refused for certain.  Values must be unique.

A dot names one write only: if two had the same, one of them would be taken for the other and lost.  So no
context that the cluster has handed out is refused because it names writes that a copy has yet to make.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History, Operation

__all__ = ["check_invention"]


def check_invention(history: History) -> Iterator[Violation]:
    for key, operations in history.by_key().items():
        yield from _two_of_one_name(key, operations)
        yield from _refused(key, operations)
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


def _refused(key: bytes, operations: list[Operation]) -> Iterator[Violation]:
    for operation in operations:
        if operation.error.startswith("INVALID_ARGUMENT"):
            yield Violation(
                "C4", key, f"what the cluster gave is refused: {operation.error}", (operation.index,)
            )


def _two_of_one_name(key: bytes, operations: list[Operation]) -> Iterator[Violation]:
    named: dict[str, Operation] = {}
    shown: dict[str, tuple[bytes, int]] = {}  # of writes that nobody has acknowledged, too
    for write in operations:
        if write.is_write and write.dot:
            other = named.setdefault(write.dot, write)
            if other is not write:
                story = f"{write.dot} names two writes"
                yield Violation("C4", key, story, (other.index, write.index))
    for read in operations:
        for version in read.siblings:
            value, index = shown.setdefault(version.dot, (version.value, read.index))
            if value != version.value:
                story = f"reads show {value!r} and {version.value!r} as {version.dot}"
                yield Violation("C4", key, story, (index, read.index))
            written = named.get(version.dot)
            if written is not None and written.kind != "touch" and written.value != version.value:
                story = (
                    f"a read shows {version.value!r} as {version.dot}, which was written as {written.value!r}"
                )
                yield Violation("C4", key, story, (written.index, read.index))
