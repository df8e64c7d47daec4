"""C7: registers are linearizable, changes are applied once, and what failed for certain was not.

How that is judged: client/checked/register_stories.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise

from ringmill.client.checked.register_calls import RegisterCall
from ringmill.client.checked.register_stories import register_breaches
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.register_history import Holding

__all__ = ["check_leases", "check_registers"]


def check_registers(
    calls: Sequence[RegisterCall], removed: Mapping[bytes, Collection[int]] | None = None
) -> Iterator[Violation]:
    """`removed`: as `register_breaches` takes it."""
    for call in calls:
        if call.is_of_core and call.outcome not in ("ok", "conflict"):
            yield Violation(
                "C17", call.key, f"{call.kind} of a register ended as {call.outcome}: {call.error}"
            )
    for key, story in register_breaches(calls, removed):
        yield Violation("C7", key, story)


def check_leases(holdings: Sequence[Holding]) -> Iterator[Violation]:
    """C8: nobody holds a lease while somebody else does, and terms grow."""
    by_lease: dict[str, list[Holding]] = defaultdict(list)
    for holding in holdings:
        by_lease[holding.lease].append(holding)
    for lease, those in sorted(by_lease.items()):
        in_order = sorted(those, key=lambda each: each.since)
        for former, later in pairwise(in_order):
            tenure = f"{former.session} held it in term {former.term} until {former.until:.3f} s"
            if later.since < former.until:
                story = f"{tenure}, {later.session} from {later.since:.3f} s on"
                yield Violation("C8", lease.encode(), story)
            if later.term <= former.term:
                yield Violation("C8", lease.encode(), f"{tenure}, {later.session} then in term {later.term}")
