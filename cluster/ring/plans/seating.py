"""A table of owners being changed: who holds what, and the cheapest chain of moves that fills a hole.

A node's partitions are the bits of one integer, so that a question about all partitions of two nodes is a few
operations on long integers, and the search is one over nodes.

The places of the flow network are a partition, a zone of a partition, and a node.  A seat that a node had in
the former table costs nothing, another costs one copy.  A chain of least cost, and among these one of the
fewest moves, enters no place twice: what lies between two visits costs nothing less and could be left out.
So the moves along it cannot get in each other's way, and tables that are filled by such chains alone are as
near to the former table as any with these capacities (successive shortest paths; Ahuja, Magnanti, Orlin,
Network Flows, 1993, section 9.7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ringmill.cluster.ids import NodeId, PartitionId

__all__ = ["Seating", "partitions_in"]

_NOBODY: Final = -1


def partitions_in(mask: int) -> list[PartitionId]:
    """The partitions whose bits are set, in ring order."""
    return [PartitionId(at) for at, bit in enumerate(reversed(bin(mask)[2:])) if bit == "1"]


class _Step(NamedTuple):
    """The best known chain to a node ends with `partition`, which `before` gives up (or that has a hole)."""

    cost: int
    moves: int
    before: int
    partition: int


@dataclass(slots=True)
class Seating:
    """Seats given to `nodes`: at most `replicas` a partition, at most `limit` of these in a zone.

    `former` are the seats that cost nothing, by node.
    """

    nodes: Sequence[NodeId]
    zones: Sequence[str]  # of the nodes
    partitions: int
    replicas: int
    limit: int
    former: Sequence[int]
    held: list[int] = field(init=False)
    open: int = field(init=False)  # partitions with fewer than `replicas` seats given
    _given: list[int] = field(init=False)  # seats, by partition
    _in_zone: dict[str, list[int]] = field(init=False)  # seats, by zone and partition
    _room: dict[str, int] = field(init=False)  # partitions that may have one more seat in this zone
    _least: int = field(init=False, default=0)  # no chain costs less: chains never get cheaper

    def __post_init__(self) -> None:
        every = (1 << self.partitions) - 1
        self.held = [0] * len(self.nodes)
        self.open = every
        self._given = [0] * self.partitions
        self._in_zone = {zone: [0] * self.partitions for zone in self.zones}
        self._room = dict.fromkeys(self.zones, every)

    def count(self, node: int) -> int:
        return self.held[node].bit_count()

    def give(self, node: int, partition: int) -> None:
        zone, bit = self.zones[node], 1 << partition
        self.held[node] |= bit
        self._given[partition] += 1
        self._in_zone[zone][partition] += 1
        if self._given[partition] >= self.replicas:
            self.open &= ~bit
        if self._in_zone[zone][partition] >= self.limit:
            self._room[zone] &= ~bit

    def take(self, node: int, partition: int) -> None:
        zone, bit = self.zones[node], 1 << partition
        self.held[node] &= ~bit
        self._given[partition] -= 1
        self._in_zone[zone][partition] -= 1
        if self._given[partition] < self.replicas:
            self.open |= bit
        if self._in_zone[zone][partition] < self.limit:
            self._room[zone] |= bit

    def too_many_of(self, partition: int) -> list[int]:
        """The nodes one of which has to give this partition up, as it or a zone of it has too many owners."""
        holders = [node for node, mask in enumerate(self.held) if mask >> partition & 1]
        crowded = [node for node in holders if self._in_zone[self.zones[node]][partition] > self.limit]
        return crowded or (holders if len(holders) > self.replicas else [])

    def fill(self, capacities: Sequence[int]) -> None:
        """Fill holes, each by the cheapest chain of moves, until none leads to a node below its capacity."""
        self._least = 0
        while self.open:
            if not (self._fill_at_once(capacities) or self._fill_by_a_chain(capacities)):
                return

    def rows(self) -> list[list[NodeId]]:
        """The nodes of each partition, in the order of `nodes`."""
        rows: list[list[NodeId]] = [[] for _ in range(self.partitions)]
        for node, mask in zip(self.nodes, self.held, strict=True):
            for partition in partitions_in(mask):
                rows[partition].append(node)
        return rows

    def _fill_at_once(self, capacities: Sequence[int]) -> bool:
        """Give a hole to the node that lacks the most, if that costs no more than the cheapest chain."""
        lacking = sorted((self.count(node) - capacity, node) for node, capacity in enumerate(capacities))
        for spare, node in lacking:
            if spare >= 0:
                break
            able = self.open & ~self.held[node] & self._room[self.zones[node]]
            wanted = able & self.former[node] or (able if self._least else 0)
            if wanted:
                self.give(node, _lowest(wanted))
                return True
        return False

    def _fill_by_a_chain(self, capacities: Sequence[int]) -> bool:
        best = self._search()
        ends = [
            (step.cost, step.moves, node)
            for node, step in enumerate(best)
            if step is not None and self.count(node) < capacities[node]
        ]
        if not ends:
            return False
        self._least, _, node = min(ends)
        while node != _NOBODY:
            step = best[node]
            assert step is not None, "a chain goes back to a hole"
            if step.before != _NOBODY:
                self.take(step.before, step.partition)
            self.give(node, step.partition)
            node = step.before
        return True

    def _search(self) -> list[_Step | None]:
        """The best chain from a hole to each node (Bellman and Ford: giving back a new seat is a gain)."""
        best: list[_Step | None] = [None] * len(self.nodes)
        queue: dict[int, None] = {}
        for node in range(len(self.nodes)):
            able = self.open & ~self.held[node] & self._room[self.zones[node]]
            if able:
                free = able & self.former[node]
                best[node] = _Step(0 if free else 1, 1, _NOBODY, _lowest(free or able))
                queue[node] = None
        while queue:
            giver = next(iter(queue))
            del queue[giver]
            for taker in range(len(self.nodes)):
                step = self._step(best[giver], giver, taker)
                present = best[taker]
                if step is not None and (present is None or step[:2] < present[:2]):
                    best[taker] = step
                    queue[taker] = None
        return best

    def _step(self, so_far: _Step | None, giver: int, taker: int) -> _Step | None:
        """The chain to `giver`, and one move more: it gives a partition up, and `taker` takes that."""
        able = self.held[giver] & ~self.held[taker]
        if self.zones[giver] != self.zones[taker]:
            able &= self._room[self.zones[taker]]
        if not able or so_far is None:
            return None
        gains, costs = ~self.former[giver], ~self.former[taker]
        for price, which in (
            (-1, able & gains & ~costs),
            (0, able & ~(gains ^ costs)),
            (1, able & ~gains & costs),
        ):
            if which:
                return _Step(so_far.cost + price, so_far.moves + 1, giver, _lowest(which))
        return None


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1
