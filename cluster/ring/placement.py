"""Chooses the owners of each partition: consistent hashing with virtual nodes and bounded load.

The partition of a key: hashing.py.

Pure.  Two passes.  First each partition walks the token circle clockwise and takes the first nodes that
are below their quota and whose zone still has room: consistent hashing with bounded loads (Mirrokni,
Thorup, Zadimoghaddam 2018).  A walk late in the first pass may end short, as every node with room already
owns the partition or is in one of its zones; the second pass closes each such hole by the shortest chain
of moves (an augmenting path), which exists whenever a table with these quotas does: see quotas.py.

Holds for every result: no node twice in a row; at most `zone_limit` owners of a row in a zone (1 while
zones >= replicas); each node holds exactly its quota, its fair share rounded down or up; the same
members in any order give the same table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.hashing import partition_start
from ringmill.cluster.ring.quotas import quotas, zone_limit
from ringmill.cluster.ring.tokens import circle_of
from ringmill.cluster.ring.topology_entries import Member

__all__ = ["place"]


def place(members: Sequence[Member], partitions: int, replicas: int) -> list[tuple[NodeId, ...]]:
    """The owners of each partition, in ring order.  With fewer members than `replicas`, all own all."""
    replicas = min(replicas, len(members))
    circle = circle_of(members)
    walks = [circle.walk(partition_start(PartitionId(p), partitions)) for p in range(partitions)]
    table = _Table(
        walks,
        replicas,
        room=quotas(members, partitions, replicas),
        zones={member.id: member.zone for member in members},
    )
    table.walk_all()
    table.close_holes()
    return [tuple(node for node in walk if node in row) for walk, row in zip(walks, table.rows, strict=True)]


@dataclass(slots=True)
class _Table:
    """A table being filled; `room` is what each node may still take."""

    walks: list[tuple[NodeId, ...]]
    replicas: int
    room: dict[NodeId, int]
    zones: dict[NodeId, str]
    limit: int = 0
    rows: list[set[NodeId]] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = list(self.zones.values())
        self.limit = zone_limit([names.count(zone) for zone in dict.fromkeys(names)], self.replicas)
        self.rows = [set() for _ in self.walks]

    def walk_all(self) -> None:
        for partition, walk in enumerate(self.walks):
            for node in walk:
                if len(self.rows[partition]) == self.replicas:
                    break
                if self.room[node] and self.zone_has_room(partition, self.zones[node]):
                    self.rows[partition].add(node)
                    self.room[node] -= 1

    def close_holes(self) -> None:
        for partition, row in enumerate(self.rows):
            while len(row) < self.replicas:
                self._augment(partition)

    def zone_has_room(self, partition: int, zone: str) -> bool:
        return sum(self.zones[node] == zone for node in self.rows[partition]) < self.limit

    def _augment(self, partition: int) -> None:
        """Give `partition` one more owner, at the end of the shortest chain of moves."""
        search = _Search(self)
        found = search.open(partition, given_up=None)
        while found is None:
            assert search.queue, f"no chain of moves fills partition {partition}: quotas are infeasible"
            node = search.queue.popleft()
            for other, row in enumerate(self.rows):
                if node in row:
                    found = search.open(other, given_up=node)
                    if found is not None:
                        break
        self.room[found] -= 1
        search.apply(found)


@dataclass(slots=True)
class _Search:
    """Breadth-first search for a node with room, through nodes that would give up a partition for another.

    The places of the flow network are a partition, a zone of a partition, and a node; each is entered once,
    so that the moves along a path cannot get in each other's way.
    """

    table: _Table
    queue: deque[NodeId] = field(default_factory=deque)
    entered: set[tuple[int, str | None]] = field(default_factory=set)  # (partition, zone); zone None: any
    reached: dict[NodeId, tuple[int, NodeId | None]] = field(default_factory=dict)  # by (partition, given up)

    def open(self, partition: int, given_up: NodeId | None) -> NodeId | None:
        """`partition` needs a node in place of `given_up`: queue who could take it; return one with room."""
        row = self.table.rows[partition]
        zones = self._zones_to_try(partition, given_up)
        for node in self.table.walks[partition]:
            if self.table.zones[node] in zones and node not in row and node not in self.reached:
                self.reached[node] = (partition, given_up)
                if self.table.room[node]:
                    return node
                self.queue.append(node)
        return None

    def _zones_to_try(self, partition: int, given_up: NodeId | None) -> set[str]:
        zones = self.table.zones
        wanted = [] if given_up is None else [zones[given_up]]
        if (partition, None) not in self.entered:
            self.entered.add((partition, None))
            wanted += [zone for zone in zones.values() if self.table.zone_has_room(partition, zone)]
        fresh = {zone for zone in wanted if (partition, zone) not in self.entered}
        self.entered.update((partition, zone) for zone in fresh)
        return fresh

    def apply(self, last: NodeId) -> None:
        """Make the moves of the path that ends at `last`."""
        node: NodeId | None = last
        while node is not None:
            partition, given_up = self.reached[node]
            self.table.rows[partition].add(node)
            if given_up is not None:
                self.table.rows[partition].remove(given_up)
            node = given_up
