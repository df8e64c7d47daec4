"""The tally of one round, kept by its proposer: promises and acceptances, and what they allow.

Pure: told of answers, asked what follows.  A round has one ballot and is used once.  Those who are asked are
the owners of a register, or the voters of a topology document.  Rules R1 (docs/protocol/registers.md), T2
(docs/protocol/topology.md) and M5 (docs/protocol/moves.md).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ringmill.cluster.consensus.ballots import NO_BALLOT, Ballot
from ringmill.cluster.consensus.remains import NO_REMAINS, Remains, combined
from ringmill.cluster.ids import NodeId

__all__ = ["RoundTally"]


class RoundTally:
    """The answers to one question, of which a majority has to agree: prepare, accept or read.

    An answer names the ballot that its node has accepted, with the value; the highest one is the value that
    a new round must go on from.
    """

    def __init__(self, asked: Sequence[NodeId], majority: int = 0) -> None:
        """`majority`: how many have to agree if that is not more than half (rule M1)."""
        self._asked = tuple(asked)
        self._majority = majority
        self._agreed: dict[NodeId, Ballot] = {}
        self._failures: dict[NodeId, str] = {}
        self.highest_accepted = NO_BALLOT
        self.value = b""
        self.highest_counter = 0
        """The highest counter of a ballot that an answer named: a later round has to be above it."""
        self.is_preempted = False
        self.newer_epoch = 0
        """The epoch of the topology by which a node refused; 0 for none."""
        self.remains = NO_REMAINS
        """The remains of the owners that hold no value, combined (rule R5)."""

    @property
    def size(self) -> int:
        """How many are asked."""
        return len(self._asked)

    @property
    def majority(self) -> int:
        return self._majority or len(self._asked) // 2 + 1

    def agree(self, node: NodeId, accepted: Ballot, value: bytes, remains: Remains | None = None) -> None:
        """A node has done what it was asked; `remains` are told by one that holds no value."""
        if node not in self._asked:
            return
        self._agreed[node] = accepted
        if remains is not None:
            self.remains = combined(self.remains, remains)
        self.note(accepted.counter)
        if accepted > self.highest_accepted or not self.value:
            self.highest_accepted, self.value = accepted, value

    def refuse(self, node: NodeId, counter: int) -> None:
        """A node has promised a higher ballot, or one of this counter, to somebody else."""
        self.note(counter)
        self.is_preempted = True
        self._failures[node] = "it has promised a higher ballot"

    def fail(self, node: NodeId, reason: str) -> None:
        self._failures[node] = reason

    def note(self, counter: int) -> None:
        self.highest_counter = max(self.highest_counter, counter)

    @property
    def is_met(self) -> bool:
        """A majority has done what it was asked."""
        return len(self._agreed) >= self.majority

    @property
    def is_lost(self) -> bool:
        """Too many have failed: no majority is left."""
        failed = [node for node in self._failures if node not in self._agreed]
        return len(self._asked) - len(failed) < self.majority

    def may_agree(self, again: Collection[NodeId]) -> int:
        """How many may have agreed in the end: all but those that have failed and are not asked again."""
        return sum(
            node in self._agreed or node not in self._failures or node in again for node in self._asked
        )

    @property
    def is_chosen(self) -> bool:
        """Whether a majority has accepted the highest ballot: then its value is the register's (rule R3).

        An owner that was healed with a copy has not: it may have promised a higher one (rule R2).
        """
        proposed = self.highest_accepted.proposed
        return sum(ballot == proposed for ballot in self._agreed.values()) >= self.majority

    @property
    def all_answered(self) -> bool:
        return len(self._agreed) + len(self._failures.keys() - self._agreed.keys()) == len(self._asked)

    @property
    def agreed(self) -> list[NodeId]:
        return list(self._agreed)

    def reasons(self, silent: str) -> dict[str, str]:
        """Why each node that has not agreed did not; `silent` for those that said nothing."""
        return {node: self._failures.get(node, silent) for node in self._asked if node not in self._agreed}
