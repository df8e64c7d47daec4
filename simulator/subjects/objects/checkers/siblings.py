"""C3: concurrent writes both survive as siblings; nothing disappears because of the order of clocks.

An acknowledged put that is not visible at the end must have been replaced by somebody who could: a write
whose context covers it, or a write without a context, which replaces what its coordinator knows, unless
that one was over before the put began.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History, Operation, covers

__all__ = ["check_siblings"]


def check_siblings(history: History) -> Iterator[Violation]:
    finals = history.finals_by_key()
    for key, operations in history.by_key().items():
        if not finals.get(key):
            continue
        visible = {dot for final in finals[key] for dot in final.dots}
        visible |= {
            dot for one in history.purged if one.key == key for dot in one.dots
        }  # it had expired: C21
        writes = [operation for operation in operations if operation.is_write]
        for put in writes:
            if put.kind != "put" or not put.is_ok or put.dot in visible or not history.is_firm(put):
                continue
            if not any(_could_replace(other, put) for other in writes):
                yield Violation(
                    "C3", key, f"put {put.dot} is gone and no write could have replaced it", (put.index,)
                )


def _could_replace(other: Operation, put: Operation) -> bool:
    if other is put or other.outcome == "failed" or other.is_blind:
        return False
    if other.given is not None:
        return covers(other.given, put.dot)
    return other.returned is None or other.outcome == "unknown" or other.returned >= put.invoked
