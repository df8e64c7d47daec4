"""Leases: a register that names its holder for a time, and what holders and contenders may conclude.

Pure.  The holder counts its time from before it sent, and gives up at 70 % of it.  A contender takes a lease
over only when it has seen it unchanged for all of its time, on its own clock.  No wall clock is asked, and no
clock of one side is compared with that of the other, so only their speeds have to agree, within 30 %.

Rule R6: docs/protocol/registers.md.  After Gray and Cheriton, "Leases", 1989.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from ringmill.cluster.errors import InvalidArgument

__all__ = ["HELD_SHARE", "LeaseRecord", "LeaseWatch", "decode_lease", "encode_lease", "held_until"]

HELD_SHARE: Final = 0.7
_MOST_BYTES: Final = 16 << 10
_MOST: Final = 1 << 60


class LeaseRecord(NamedTuple):
    """What the register of a lease holds.

    `holder` is "" when it was released.  `term` grows with every acquisition and is never reset: it is the
    fencing number.  `renewal` grows within a term.
    """

    holder: str
    term: int
    renewal: int
    duration_ms: int

    @property
    def is_free(self) -> bool:
        return not self.holder


NO_LEASE: Final = LeaseRecord("", 0, 0, 0)


def encode_lease(record: LeaseRecord) -> bytes:
    """JSON, so that people can read it."""
    return json.dumps(record._asdict(), separators=(",", ":")).encode()


def decode_lease(value: bytes | None) -> LeaseRecord:
    """The record in a register; of one without a value a free lease.

    Raises InvalidArgument for a register that does not hold a lease.
    """
    if value is None:
        return NO_LEASE
    try:
        if len(value) > _MOST_BYTES:  # any client may set a register to anything
            raise ValueError(f"{len(value)} bytes")
        fields = json.loads(value)
        record = LeaseRecord(**fields)
    except (ValueError, TypeError, RecursionError):
        raise InvalidArgument(f"the register holds {value[:60]!r}, which is not a lease") from None
    numbers = (record.term, record.renewal, record.duration_ms)
    if type(record.holder) is not str or any(
        type(each) is not int or not 0 <= each <= _MOST for each in numbers
    ):
        raise InvalidArgument(f"the register holds {value[:60]!r}, which is not a lease")
    return record


def held_until(sent_at: float, duration_s: float) -> float:
    """Until when a holder may act whose acquisition or renewal was sent at `sent_at`, in seconds of its own
    clock."""
    return sent_at + HELD_SHARE * duration_s


class LeaseWatch:
    """A contender's view of a lease that somebody holds.  Times in seconds of its own clock."""

    def __init__(self) -> None:
        self._version: int | None = None
        self._free_at = 0.0

    def see(self, version: int, duration_s: float, answered_at: float) -> None:
        """The register was in this version when it was read.  A version that is new begins a new wait."""
        if version != self._version:
            self._version, self._free_at = version, answered_at + duration_s

    def left_s(self, now: float) -> float:
        """How much longer it has to stay as it is before it may be taken over."""
        return max(0.0, self._free_at - now)
