"""A client's own share in ending an overload: it refuses itself what would be refused most likely.

Pure; times are seconds.  When less than half of the last requests were accepted, new ones fail here with the
probability max(0, (requests - 2 x accepted) / (requests + 1)), which costs the nodes nothing (Google, "Site
Reliability Engineering", chapter 21).  A request counts when it ends, also one that is refused here: a burst
of which nothing was heard yet is not a sign of anything.

Rule O6: docs/protocol/overload.md.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Throttle"]

SLOT_S: Final = 5.0
"""Requests of this and of the last slot count: the last 5 to 10 s."""
LEAST_REQUESTS: Final = 20
ACCEPTED_WEIGHT: Final = 2.0


class Throttle:
    """Counts the requests of one client."""

    __slots__ = ("_accepted", "_requests", "_slot_at")

    def __init__(self) -> None:
        self._slot_at = 0.0
        self._requests = [0, 0]  # in this slot, in the last one
        self._accepted = [0, 0]

    def accepted(self, now: float) -> None:
        """A node did not refuse a request for want of room."""
        self._turn(now)
        self._requests[0] += 1
        self._accepted[0] += 1

    def refused(self, now: float) -> None:
        """A node did, or this client did."""
        self._turn(now)
        self._requests[0] += 1

    def refusal_chance(self, now: float) -> float:
        """How likely the next request is to be refused here."""
        self._turn(now)
        present, before = self._requests
        requests = present + before
        accepted, accepted_before = self._accepted
        refused = requests - ACCEPTED_WEIGHT * (accepted + accepted_before)
        if refused <= 0 or requests < LEAST_REQUESTS:
            return 0.0
        return refused / (requests + 1)

    def _turn(self, now: float) -> None:
        passed_s = now - self._slot_at
        if passed_s < SLOT_S:
            return
        is_next = passed_s < 2 * SLOT_S
        self._requests = [0, self._requests[0] if is_next else 0]
        self._accepted = [0, self._accepted[0] if is_next else 0]
        self._slot_at = now
