"""C5 on sessions with tokens: what their writes replace, and that they can read when all is well.

That their reads never go back is judged with all others
(simulator/subjects/objects/checkers/sessions.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History, Operation, covers

__all__ = ["check_last_reads", "check_what_is_replaced"]


def check_what_is_replaced(history: History) -> Iterator[Violation]:
    """Monotonic writes and writes follow reads: who sees a write of a session without a context of its own
    sees nothing that the session had read or written before."""
    for key, operations in history.by_key().items():
        shown = [(read.index, [each.dot for each in read.siblings]) for read in operations]
        shown += [(-1, list(final.dots)) for final in history.finals if final.key == key]
        for dot, seen, own in _writes_of_sessions(operations):
            for index, dots in shown:
                if dot not in dots:
                    continue
                left = [other for other in dots if other in own or (other != dot and covers(seen, other))]
                if left:
                    yield Violation(
                        "C5", key, f"{dot} stands beside {left[0]}, which its session had seen", (index,)
                    )


def _writes_of_sessions(operations: list[Operation]) -> Iterator[tuple[str, dict[str, int], set[str]]]:
    """The dot of each such write, the context that its session had seen, and the dots of its own writes."""
    for name in sorted({operation.session for operation in operations if operation.has_token}):
        seen: dict[str, int] = {}
        own: set[str] = set()
        for operation in operations:
            if operation.session != name or not operation.is_ok:
                continue
            if operation.is_write and operation.given is None and not operation.is_blind:
                yield operation.dot, dict(seen), set(own) - {operation.dot}
            for actor, count in operation.seen.items():
                seen[actor] = max(count, seen.get(actor, 0))
            if operation.is_write:
                own.add(operation.dot)


def check_last_reads(history: History, first: int) -> Iterator[Violation]:
    """With every node up and no disk lost or damaged, a session reads every key, whatever it has seen."""
    if history.lost or history.damaged:
        return
    for read in history.operations:
        if read.has_token and read.index >= first and not read.is_ok:
            yield Violation(
                "C5", read.key, f"{read.session} cannot read any more: {read.error}", (read.index,)
            )
