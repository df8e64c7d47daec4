"""C3: concurrent writes both survive as siblings; nothing disappears because of the order of clocks.

An acknowledged put that is not visible at the end must have been replaced by somebody who could: a write
whose context covers it, or a write without a context, which replaces what its coordinator knows, unless
that one was over before the put began.  The same is asked of each read, whatever its level, of all puts that
its context covers (simulator/checkers/shown_values.py); that the context covers what was acknowledged is C1.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.simulator.checkers.shown_values import (
    Shown,
    could_replace,
    dots_of_puts,
    hidden_by_knowledge,
    hidden_puts,
)
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History

__all__ = ["check_shown_values", "check_siblings"]


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
            if not any(could_replace(other, put) for other in writes):
                yield Violation(
                    "C3", key, f"put {put.dot} is gone and no write could have replaced it", (put.index,)
                )


def check_shown_values(history: History) -> Iterator[Violation]:
    """No read leaves out a value that its own context speaks of and that is still there."""
    finals = history.finals_by_key()
    for key, operations in history.by_key().items():
        writes = [operation for operation in operations if operation.is_write]
        shown = [Shown.of_read(read) for read in operations if not read.is_write and read.is_ok]
        held = Shown.of_owners(finals.get(key, []))
        dots = dots_of_puts(history, key, writes, [*shown, *held])
        for one, put in hidden_puts(history, shown, writes, dots):
            story = f"{one.who} hides {put.value!r}, which it knows of and no write could have replaced"
            yield Violation("C3", key, story, (put.index, *_index(one)))
        for less, more, dot in hidden_by_knowledge(shown, [*shown, *held]):
            story = f"{less.who} hides {dot}, which {more.who} shows, knowing no less"
            yield Violation("C3", key, story, (*_index(less), *_index(more)))


def _index(shown: Shown) -> tuple[int, ...]:
    return () if shown.operation is None else (shown.operation,)
