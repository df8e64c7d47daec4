"""What this node knows of comparing its copies: which were found equal with whom and when, and whose turn it
is.

A partition is mended by one pair of owners at a time, as two pairs would carry the same objects twice.  Of
two owners that ask each other, the one whose name comes first goes on.
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.errors import Overloaded
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ports import Clock
from ringmill.cluster.sometimes import sometimes

__all__ = ["Comparisons"]

TURN_S: Final = 2.5  # after this silence of the owner whose turn it is, another one may ask


class Comparisons:
    """`moved_bytes` are objects carried to and from other owners, `wire_bytes` all messages of comparing,
    these objects included; both since the start, and only where this node asked."""

    def __init__(self, node: NodeId, clock: Clock) -> None:
        self._node = node
        self._clock = clock
        self._equal: dict[tuple[PartitionId, NodeId], float] = {}
        self._asking: dict[PartitionId, NodeId] = {}
        self._answering: dict[PartitionId, tuple[NodeId, float]] = {}
        self.equal = 0  # comparisons of a partition that ended with equal copies, mended or not
        self.differing = 0  # and those that had to mend something
        self.moved_bytes = 0
        self.wire_bytes = 0
        self.pulled = 0  # objects of other owners that were merged in here
        self.pushed = 0  # and those that others got

    def note_equal(self, partition: PartitionId, node: NodeId) -> None:
        """Everything that either of us held when this comparison began is on the disks of both."""
        self._equal[partition, node] = self._clock.monotonic()
        self.equal += 1

    def equal_s_ago(self, partition: PartitionId, node: NodeId) -> float | None:
        """When that was last so, since the start."""
        at = self._equal.get((partition, node))
        return None if at is None else self._clock.monotonic() - at

    def take_turn(self, partition: PartitionId, node: NodeId) -> None:
        """This node goes to mend a partition with another owner; `end_turn` must follow.  Raises
        Overloaded."""
        if (other := self._answered(partition)) is not None:
            raise self._busy(partition, other)
        if (asked := self._asking.get(partition)) is not None:  # for a watermark, or for no reason but time
            raise self._busy(partition, asked)
        self._asking[partition] = node

    def end_turn(self, partition: PartitionId) -> None:
        self._asking.pop(partition, None)

    def give_turn(self, partition: PartitionId, asker: NodeId) -> None:
        """Another owner asks what differs.  Raises Overloaded when it is not its turn."""
        asked = self._asking.get(partition)
        if asked is not None and (asked != asker or self._node < asker):
            raise self._busy(partition, asked)
        other = self._answered(partition)
        if other is not None and other != asker:
            raise self._busy(partition, other)
        self._answering[partition] = asker, self._clock.monotonic()

    def _answered(self, partition: PartitionId) -> NodeId | None:
        asker, at = self._answering.get(partition, (None, 0.0))
        return asker if self._clock.monotonic() - at < TURN_S else None

    def _busy(self, partition: PartitionId, other: NodeId) -> Overloaded:
        sometimes("a comparison waits for its turn")
        return Overloaded(f"{self._node} is comparing partition {partition} with {other}")
