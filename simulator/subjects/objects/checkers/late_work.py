"""C13: nothing is done for a client that waits no longer.

A put whose deadline has passed, by the one clock of the run, is not coordinated any more, however long it
waited in the socket of a stopped process.  A put is known by its value, which no other one has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History

__all__ = ["check_late_work"]

_SLACK_S: Final = 0.001  # stamps are whole microseconds, and early rather than late


def check_late_work(history: History) -> Iterator[Violation]:
    puts = {(put.key, put.value): put for put in history.operations if put.kind == "put"}
    for write in history.coordinated:
        put = puts.get((write.key, write.value or b""))
        if write.is_touch or write.value is None or put is None or put.timeout_s is None:
            continue
        late_s = write.at - put.invoked - put.timeout_s
        if late_s > _SLACK_S:
            yield Violation(
                "C13",
                write.key,
                f"{write.node} coordinated {write.dot} {late_s:.3f} s after its client had given up",
                (put.index,),
            )
