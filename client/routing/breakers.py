"""A breaker for each node: one that fails half of what it is asked is asked last for a while.

Pure; times are seconds.  A breaker opens when at least 20 requests have ended in the last 5 to 10 s and half
of them failed: the node did not answer, or had no room.  It is open for 2 s, then requests show whether it is
well: a failure opens it for twice as long, up to 30 s, and an answer closes it.  An open breaker fails no
request: when there is no better node, this one is asked.

Rule O6: docs/protocol/overload.md.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

__all__ = ["Breakers"]

SLOT_S: Final = 5.0  # what is counted are the present slot and the one before it
LEAST_ENDED: Final = 20
FAILED_SHARE: Final = 0.5
FIRST_OPEN_S: Final = 2.0
LONGEST_OPEN_S: Final = 30.0


class _Breaker:
    __slots__ = ("ended", "ended_before", "failed", "failed_before", "open_s", "open_until", "since")

    def __init__(self, now: float) -> None:
        self.begin(now)
        self.open_s = 0.0  # how long it was open the last time; 0 while it is closed
        self.open_until = 0.0

    def begin(self, now: float) -> None:
        """Count anew."""
        self.since = now
        self.ended = self.failed = self.ended_before = self.failed_before = 0

    def turn(self, now: float) -> None:
        """The present slot is over."""
        if now - self.since > 2 * SLOT_S:
            self.begin(now)
            return
        self.since += SLOT_S
        self.ended_before, self.failed_before = self.ended, self.failed
        self.ended = self.failed = 0

    @property
    def is_ill(self) -> bool:
        ended, failed = self.ended + self.ended_before, self.failed + self.failed_before
        return ended >= LEAST_ENDED and failed >= FAILED_SHARE * ended


class Breakers:
    """The breakers of one client, by address."""

    def __init__(self) -> None:
        self._breakers: dict[str, _Breaker] = {}
        self._open_until = 0.0  # of the last one to open

    def answered(self, address: str, now: float) -> None:
        """Each answer passes here, also of a node that has not failed yet: of what share do others fail?"""
        breaker = self._breakers.get(address)
        if breaker is None:
            breaker = self._breakers[address] = _Breaker(now)
        elif now - breaker.since > SLOT_S:
            breaker.turn(now)
        breaker.ended += 1
        breaker.open_s = 0.0

    def failed(self, address: str, now: float) -> None:
        breaker = self._breakers.get(address)
        if breaker is None:
            breaker = self._breakers[address] = _Breaker(now)
        if now < breaker.open_until:
            return
        if now - breaker.since > SLOT_S:
            breaker.turn(now)
        breaker.ended += 1
        breaker.failed += 1
        if breaker.is_ill or breaker.open_s:
            breaker.open_s = min(LONGEST_OPEN_S, 2 * breaker.open_s or FIRST_OPEN_S)
            breaker.open_until = now + breaker.open_s
            breaker.begin(breaker.open_until)
            self._open_until = max(self._open_until, breaker.open_until)

    def keep(self, known: Container[str]) -> None:
        """Forget all but these."""
        self._breakers = {address: each for address, each in self._breakers.items() if address in known}

    def is_open(self, address: str, now: float) -> bool:
        breaker = self._breakers.get(address)
        return breaker is not None and now < breaker.open_until

    def last(self, addresses: list[str], now: float) -> list[str]:
        """The addresses in their order, but those with an open breaker at the end."""
        if now >= self._open_until:
            return addresses
        return sorted(addresses, key=lambda address: self.is_open(address, now))
