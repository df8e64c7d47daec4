"""Ballots: the names of attempts to change one register, ordered, and none used twice.

The counter decides; node and start only make the ballots of two proposers differ.  A proposer counts in
memory, so its start is part of the ballot: the next start of the node begins again and must not repeat one.
Rule R1: docs/protocol/registers.md.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ids import NodeId

__all__ = ["Ballot", "MAX_COUNTER", "NO_BALLOT", "ballot_of"]

MAX_COUNTER: Final = 1 << 62
"""At a million ballots a second a cluster would count that far in 146,000 years."""

_OF_COPY: Final = "~"
"""Behind the boot id, which has letters and digits alone and one length: so nothing lies between the two."""


class Ballot(NamedTuple):
    """Compared from left to right.  `start` and `boot` name the start of the proposer (rule I1)."""

    counter: int
    node: NodeId
    start: int
    boot: str

    @property
    def of_copy(self) -> Ballot:
        """The ballot of a copy of what was accepted under this one: just above it, and nobody proposes it.

        An owner that was healed knows the value, and has not accepted it itself (rule R2).
        """
        is_copy = self == NO_BALLOT or self.boot.endswith(_OF_COPY)
        return self if is_copy else self._replace(boot=self.boot + _OF_COPY)

    @property
    def proposed(self) -> Ballot:
        """The ballot of the proposer, also of a copy."""
        return self._replace(boot=self.boot.removesuffix(_OF_COPY))

    def __str__(self) -> str:
        return f"{self.counter}.{self.node}#{self.start}"


NO_BALLOT: Final = Ballot(0, NodeId(""), 0, "")
"""Below every ballot that a proposer makes."""


def ballot_of(fields: Any) -> Ballot:
    """A ballot from four decoded fields.  Raises ProtocolMismatch."""
    if type(fields) is not list or [type(field) for field in fields] != [int, str, int, str]:
        raise ProtocolMismatch("a ballot has a counter, a node, a start and its boot id")
    counter, node, start, boot = fields
    if not 0 <= counter <= MAX_COUNTER or start < 0:
        raise ProtocolMismatch(f"a ballot counts to {counter}, at most {MAX_COUNTER} is allowed")
    return Ballot(counter, NodeId(node), start, boot)
