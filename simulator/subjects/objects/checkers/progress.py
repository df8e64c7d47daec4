"""C17: a healed core of the nodes makes progress, whatever the rest of the cluster does.

Every put and get of a key with enough owners in the core is answered at the
first time of asking, within its client's deadline, and what was put is read back.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History, Operation, covers

__all__ = ["check_progress"]


def check_progress(history: History) -> Iterator[Violation]:
    beside = history.core.beside
    written: dict[bytes, Operation] = {}
    for index in history.core.asked:
        asked = history.operations[index]
        if not asked.is_ok:
            story = f"a {asked.kind} ended as {asked.outcome} beside {beside}: {asked.error or 'no answer'}"
            yield Violation("C17", asked.key, story, (index,))
        elif asked.is_write:
            written[asked.key] = asked
        elif (put := written.get(asked.key)) and not covers(asked.seen, put.dot):
            story = f"a get misses {put.dot}, which the healed core had acknowledged beside {beside}"
            yield Violation("C17", asked.key, story, (put.index, index))
