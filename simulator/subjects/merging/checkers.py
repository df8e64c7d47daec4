"""C10: counters, sets and maps lose nothing and count nothing twice.

How that is judged: client/checked/merging_stories.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ringmill.client.checked.merging_calls import MergingCall
from ringmill.client.checked.merging_stories import merging_breaches
from ringmill.simulator.checkers.violation import Violation

__all__ = ["check_merging"]


def check_merging(calls: Sequence[MergingCall]) -> Iterator[Violation]:
    for call in calls:
        if call.is_of_core and call.outcome != "ok":
            story = f"{call.kind} of a {call.policy} ended as {call.outcome}: {call.error}"
            yield Violation("C17", call.key, story)
    for key, story in merging_breaches(calls):
        yield Violation("C10", key, story)
