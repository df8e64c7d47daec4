"""C17, whatever is asked for: nodes of a healed core serve before long, and a job that they keep succeeds.

What it says of keys and values: simulator/subjects/objects/checkers/progress.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History

__all__ = ["check_core"]


def check_core(history: History) -> Iterator[Violation]:
    beside = history.core.beside
    for node in history.core.not_serving:
        yield Violation("C17", b"", f"{node} of the healed core does not serve beside {beside}")
    for story in history.core.failed_jobs:
        yield Violation("C17", b"", f"a job did not succeed beside {beside}: {story}")
