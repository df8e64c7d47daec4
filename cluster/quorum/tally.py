"""Counts answers against a level: whether a write or read is done, and which owner a read asks next.

Pure.  It knows owners, levels and answers; deadlines and peers are in node/requests.  It counts only answers
under the row epoch for which it was opened: owners of two rows do not add up to one quorum (rules W1, G1 and
T5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.quorum.receipt import Durability

__all__ = ["ReadTally", "SloppyTally", "WriteTally"]

_NOBODY: Final[Mapping[NodeId, NodeId]] = MappingProxyType({})


@dataclass(slots=True)
class WriteTally:
    """The answers of one write.  Each owner answers once: with an ack or with a failure."""

    w: int
    owners: tuple[NodeId, ...]
    row_epoch: Epoch
    acks: dict[NodeId, Durability] = field(default_factory=dict)
    failures: dict[NodeId, str] = field(default_factory=dict)
    newer_epoch: int = 0  # of the topology by which an owner refused

    @property
    def stand_ins(self) -> Mapping[NodeId, NodeId]:
        """The fallback of each owner that has one, in a sloppy quorum."""
        return _NOBODY

    def record_ack(self, node: NodeId, durability: Durability, row_epoch: Epoch) -> None:
        self._expect(node)
        if row_epoch == self.row_epoch:
            self.acks[node] = durability
        else:
            self.failures[node] = _other_row(row_epoch, self.row_epoch)

    def record_failure(self, node: NodeId, why: str) -> None:
        self._expect(node)
        self.failures[node] = why

    @property
    def outstanding(self) -> tuple[NodeId, ...]:
        """Owners that have not answered, in ring order."""
        return tuple(node for node in self.owners if node not in self.acks and node not in self.failures)

    @property
    def is_met(self) -> bool:
        return len(self.acks) >= self.w

    @property
    def is_lost(self) -> bool:
        """Whether the outstanding answers can no longer meet the level."""
        return len(self.owners) - len(self.failures) < self.w

    @property
    def is_over(self) -> bool:
        return len(self.acks) + len(self.failures) == len(self.owners)

    def reasons(self, silent: str) -> dict[str, str]:
        """The reason of each owner that did not ack; `silent` is the reason of those that have not
        answered."""
        return _reasons(self.failures, self.outstanding, silent)

    def _expect(self, node: NodeId) -> None:
        assert node in self.owners, f"{node} is no owner of this row"
        assert node not in self.acks and node not in self.failures, f"{node} answered twice"


@dataclass(slots=True)
class SloppyTally(WriteTally):
    """Counts the acks of a write in a sloppy keyspace, where a member may stand in for an owner (rule W7).

    An owner and who stands in for it are one seat, which counts once.  A member stands in for one owner at
    most, so `w` seats are `w` nodes.
    """

    _stand_ins: dict[NodeId, NodeId] = field(default_factory=dict)

    @property
    def stand_ins(self) -> Mapping[NodeId, NodeId]:
        return self._stand_ins

    def record_stand_in(self, owner: NodeId, fallback: NodeId) -> None:
        """Count a member's synced hint for an owner, given under this row."""
        assert owner in self.owners and fallback not in self.owners, f"{fallback} stands in for {owner}"
        assert owner not in self._stand_ins and fallback not in self._stand_ins.values(), "one seat for each"
        self._stand_ins[owner] = fallback

    @property
    def is_met(self) -> bool:
        return self._seats() >= self.w

    @property
    def is_lost(self) -> bool:
        given_up = sum(node not in self._stand_ins for node in self.failures)
        return len(self.owners) - given_up < self.w

    def _seats(self) -> int:
        return len(self.acks) + sum(owner not in self.acks for owner in self._stand_ins)


@dataclass(slots=True)
class ReadTally:
    """The answers of one read, and the owners to ask: `r` at first, one more for each that fails or stalls.

    `candidates` are the row's owners in the order in which to ask them, and behind them those who may stand
    in for them (rule G5).  A late answer of a stalled owner still counts.
    """

    r: int
    candidates: Sequence[NodeId]
    row_epoch: Epoch
    answered: list[NodeId] = field(default_factory=list)
    failures: dict[NodeId, str] = field(default_factory=dict)
    newer_epoch: int = 0  # of the topology by which an owner refused
    _asked: int = 0  # how many of the candidates, from the first on
    _stalled: frozenset[NodeId] = frozenset()

    def next_to_ask(self) -> Sequence[NodeId]:
        """Whom to ask now, so that enough answers are expected; each owner is named once."""
        asked = expected = self._asked
        if self.failures or self._stalled:
            failures, stalled = self.failures, self._stalled
            expected = sum(node not in failures and node not in stalled for node in self.candidates[:asked])
            expected += sum(node in stalled for node in self.answered)
        if expected >= self.r:
            return ()
        chosen = self.candidates[asked : asked + self.r - expected]
        self._asked = asked + len(chosen)
        return chosen

    def record_answer(self, node: NodeId, row_epoch: Epoch) -> bool:
        """Count an answer; False when it was given under another row and counts as a failure."""
        self._expect(node)
        if row_epoch != self.row_epoch:
            self.failures[node] = _other_row(row_epoch, self.row_epoch)
            return False
        self.answered.append(node)
        return True

    def record_failure(self, node: NodeId, why: str) -> None:
        self._expect(node)
        self.failures[node] = why

    def record_late(self, node: NodeId) -> None:
        """Stop expecting the answer of this one, which was asked: one more is asked beside it."""
        self._stalled |= {node}

    def record_stall(self) -> None:
        """Stop expecting answers from the owners that were asked and are still silent."""
        self._stalled = self._stalled.union(self.outstanding)

    @property
    def next_unasked(self) -> NodeId | None:
        """Who would be asked next; None when nobody is left."""
        return self.candidates[self._asked] if self._asked < len(self.candidates) else None

    @property
    def outstanding(self) -> tuple[NodeId, ...]:
        """Asked and silent, in the order they were asked."""
        asked = self.candidates[: self._asked]
        return tuple(node for node in asked if node not in self.answered and node not in self.failures)

    @property
    def is_met(self) -> bool:
        return len(self.answered) >= self.r

    @property
    def is_lost(self) -> bool:
        """Whether too many owners failed for the rest to meet the level."""
        return len(self.candidates) - len(self.failures) < self.r

    def reasons(self, silent: str) -> dict[str, str]:
        """The reason of each owner that was asked and failed; `silent` is the reason of those without an
        answer."""
        return _reasons(self.failures, self.outstanding, silent)

    def _expect(self, node: NodeId) -> None:
        assert node in self.candidates[: self._asked], f"{node} was not asked"
        assert node not in self.answered and node not in self.failures, f"{node} answered twice"


def _other_row(theirs: Epoch, ours: Epoch) -> str:
    return f"answered under row epoch {theirs}, the request under {ours}"


def _reasons(failures: dict[NodeId, str], outstanding: Sequence[NodeId], silent: str) -> dict[str, str]:
    reasons: dict[str, str] = dict.fromkeys(outstanding, silent)
    reasons.update((str(node), why) for node, why in failures.items())
    return reasons
