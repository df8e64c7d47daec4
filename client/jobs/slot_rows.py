"""Which attempts ran one after the other in the same slot of a node.

Pure.  Nobody numbers slots: an attempt is taken to have had the first slot of its node that was free when it
began, which is as good as the true one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary

__all__ = ["SlotRow", "slot_rows"]


@dataclass(slots=True)
class SlotRow:
    """One slot, counted from 1, and its attempts in the order in which they began."""

    node: str
    slot: int
    attempts: list[AttemptSummary] = field(default_factory=list)

    def busy_s(self, now_s: float) -> float:
        return sum(attempt.seconds(now_s) for attempt in self.attempts)

    def is_free_at(self, at_s: float) -> bool:
        last = self.attempts[-1].ended_s
        return last is not None and last <= at_s


def slot_rows(attempts: Iterable[AttemptSummary]) -> Sequence[SlotRow]:
    """The rows by node and slot.  A node has as many as it had attempts at once."""
    rows: dict[str, list[SlotRow]] = {}
    for attempt in sorted(attempts, key=lambda each: (each.began_s, each.ended_s or float("inf"))):
        own = rows.setdefault(attempt.node, [])
        row = next((row for row in own if row.is_free_at(attempt.began_s)), None)
        if row is None:
            own.append(row := SlotRow(attempt.node, len(own) + 1))
        row.attempts.append(attempt)
    return [row for node in sorted(rows) for row in rows[node]]
