"""The pairs of owners that have to be compared because one may lack something, and what is still to be done.

Pure.  A node that may have lost hints, and perhaps also what the hints were for, owes each partition to all
its other owners.  What it gets from one of them it may have to bring to another that was compared before, so
the first comparison with each owner calls for one more with all the rest (rule H8).  A dropped hint owes one
partition to its target (rule H2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ringmill.cluster.ids import NodeId, PartitionId

__all__ = ["Owed"]

_NONE: Final[dict[NodeId, tuple[int, bool]]] = {}


class Owed:
    """`stamp` counts what was owed so far: a comparison is one of what was owed before it began."""

    def __init__(self) -> None:
        self._pairs: dict[PartitionId, dict[NodeId, tuple[int, bool]]] = {}  # stamp, whether others follow
        self.stamp = 0

    def owe_all(self, partition: PartitionId, others: Iterable[NodeId]) -> None:
        self.stamp += 1
        self._pairs[partition] = dict.fromkeys(others, (self.stamp, True))

    def owe(self, partition: PartitionId, node: NodeId) -> None:
        self.stamp += 1
        pairs = self._pairs.setdefault(partition, {})
        pairs[node] = self.stamp, node in pairs and pairs[node][1]

    def mark_compared(
        self, partition: PartitionId, node: NodeId, others: Iterable[NodeId], began: int
    ) -> None:
        """Note that a comparison begun at stamp `began` has ended well; `others` are the other owners."""
        stamp, is_first = self._pairs.get(partition, _NONE).get(node, (began + 1, False))
        if stamp > began:
            return
        pairs = self._pairs[partition]
        del pairs[node]
        if is_first:
            self.stamp += 1
            for other in others:
                if other != node:
                    pairs.setdefault(other, (self.stamp, False))
        if not pairs:
            del self._pairs[partition]

    def keep_only(self, partition: PartitionId, others: Iterable[NodeId]) -> None:
        """Drop what is owed to any but these: the other owners now, none where this node is not an owner."""
        kept = {node: self._pairs[partition][node] for node in others if node in self._pairs[partition]}
        if kept:
            self._pairs[partition] = kept
        else:
            del self._pairs[partition]

    def to(self, node: NodeId) -> list[PartitionId]:
        return [partition for partition, pairs in self._pairs.items() if node in pairs]

    def of(self, partition: PartitionId) -> list[NodeId]:
        return list(self._pairs.get(partition, _NONE))

    def partitions(self) -> list[PartitionId]:
        return list(self._pairs)

    def pairs(self) -> Sequence[tuple[PartitionId, NodeId]]:
        return [(partition, node) for partition, pairs in self._pairs.items() for node in pairs]

    def __len__(self) -> int:
        return sum(map(len, self._pairs.values()))
