"""C14: a step that all wall clocks make alike stops no write.

Judged in runs whose other faults leave the nodes in touch with each other: a node that can ask nobody may not
know whether it is alone with its step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History

__all__ = ["check_clock_steps"]

_HARMLESS: Final = frozenset(
    ("host_clock_step", "duplicate", "reorder", "disk_slow", "disk_full", "disk_error", "late_work")
)


def check_clock_steps(history: History) -> Iterator[Violation]:
    if "host_clock_step" not in history.faults or not history.faults <= _HARMLESS:
        return
    for operation in history.operations:
        if operation.is_write and not operation.is_ok and "wall clock" in operation.error:
            story = f"a {operation.kind} was refused after a step of all clocks: {operation.error}"
            yield Violation("C14", operation.key, story, (operation.index,))
