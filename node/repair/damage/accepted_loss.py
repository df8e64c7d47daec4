"""The operator's word that a damaged range is healed without owners that cannot help.

Healing waits for enough other owners, however long (rule H6).  Where some of them have lost the same
range or are gone, only a person can say that what they alone had is given up.  The word names these owners.
From none of them a partition is filled only if it was waiting for all of them when they were named.
It holds for what is damaged until all of it is healed, or until this node stops; a lifted fence is durable,
so after a stop the word is given again for the rest.

Rule H12: docs/protocol/repair.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from ringmill.cluster.errors import InvalidArgument, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.node.repair.damage.parts import Part, PartKind

__all__ = ["AcceptedLoss"]


class _Waiting(NamedTuple):
    part: Part
    missing: frozenset[NodeId]


class AcceptedLoss:
    """What healing waits for, and whom it need not wait for."""

    def __init__(self) -> None:
        self._given_up: frozenset[NodeId] = frozenset()
        self._without: dict[PartitionId | None, frozenset[NodeId]] = {}  # those that it waited for when named
        self._short: dict[tuple[PartitionId | None, PartKind], list[_Waiting]] = {}

    @property
    def given_up(self) -> frozenset[NodeId]:
        return self._given_up

    @property
    def short(self) -> Mapping[PartitionId, frozenset[NodeId]]:
        """The partitions that could not be healed at the last try, and the owners that did not help."""
        found: dict[PartitionId, frozenset[NodeId]] = {}
        for (partition, _), waiting in self._short.items():
            if partition is not None:
                found[partition] = found.get(partition, frozenset()).union(
                    *(each.missing for each in waiting)
                )
        return found

    def accept(self, nodes: Collection[NodeId]) -> None:
        """Heal without these.  Raises InvalidArgument for one that no partition waits for."""
        short, named = self.short, frozenset(nodes)
        waited_for = frozenset().union(*short.values())
        if needless := sorted(named - waited_for):
            raise InvalidArgument(
                f"no damaged partition waits for {', '.join(needless)}",
                hint="look again: healing waits for "
                + (", ".join(sorted(waited_for)) if waited_for else "nobody"),
            )
        self._given_up |= named
        for partition, missing in short.items():
            self._without[partition] = missing & self._given_up

    def sources_needed(self, partition: PartitionId, others: Collection[NodeId], usual: int) -> int:
        """How many of the other owners have to be merged in."""
        needed = sum(node not in self._given_up for node in others)
        return min(usual, needed or int(not self._needs_none(partition, others)))

    def _needs_none(self, partition: PartitionId, others: Collection[NodeId]) -> bool:
        """Whether no other owner could help with it as they were given up: one that was given up for another
        partition may be silent for a moment."""
        return self._without.get(partition, frozenset()).issuperset(others)

    def check_has_source(self, node: NodeId, others: Collection[NodeId]) -> None:
        """Raises Unavailable for the only owner of a range, unless a loss of its own is accepted."""
        if not others and node not in self._given_up:
            raise Unavailable("no other owner has a copy of it", detail={"missing": [node]})

    def are_enough(
        self, partition: PartitionId, answered: Collection[NodeId], others: Collection[NodeId], usual: int
    ) -> bool:
        """Whether what these have told may be merged in: `usual` of the others, or all but those given up.

        One that was given up and is back makes up for none that was not.
        """
        if len(answered) >= usual:
            return True
        is_any = bool(answered) or self._needs_none(partition, others)
        return is_any and all(node in answered for node in others if node not in self._given_up)

    def note(self, part: Part, error: Exception) -> None:
        """A part could not be healed now."""
        if part.partition is not None and isinstance(error, RingmillError):
            missing = frozenset(NodeId(node) for node in error.detail.get("missing", ()))
            self._forget(part)  # what was noted of these keys before
            self._short.setdefault((part.partition, part.kind), []).append(_Waiting(part, missing))

    def healed(self, part: Part) -> None:
        """A word for a partition is for the damage that it was given for: later damage waits again."""
        self._forget(part)
        if all(partition != part.partition for partition, _ in self._short):
            self._without.pop(part.partition, None)

    def _forget(self, part: Part) -> None:
        """A partition may have more damaged ranges, each with owners of its own that are waited for."""
        waiting = self._short.pop((part.partition, part.kind), [])
        if left := [each for each in waiting if not _overlap(each.part, part)]:
            self._short[part.partition, part.kind] = left

    def end(self) -> None:
        """Nothing is damaged any more."""
        self._given_up = frozenset()
        self._without.clear()
        self._short.clear()


def _overlap(one: Part, other: Part) -> bool:
    is_below = one.end is not None and one.end <= other.start
    return not is_below and (other.end is None or one.start < other.end)
