"""The token circle: 64 x weight points a node, and the order in which a walk meets the nodes.

Consistent hashing with virtual nodes (Karger et al. 1997; DeCandia et al., Dynamo, 2007, section 4.2).
Tokens hang on the node's name alone, so that every process draws the same circle.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from xxhash import xxh3_64_intdigest

from ringmill.cluster.ids import NodeId, Position
from ringmill.cluster.ring.topology_entries import Member

__all__ = ["TOKENS_PER_WEIGHT", "Circle", "circle_of"]

TOKENS_PER_WEIGHT: Final = 64


@dataclass(frozen=True, slots=True)
class Circle:
    """Sorted token positions, and the node of each."""

    positions: tuple[int, ...]
    nodes: tuple[NodeId, ...]

    def walk(self, start: Position) -> tuple[NodeId, ...]:
        """Every node once, in the order its first token is met clockwise from `start` (inclusive)."""
        first = bisect_left(self.positions, start)
        return tuple(dict.fromkeys(self.nodes[first:] + self.nodes[:first]))


def circle_of(members: Iterable[Member]) -> Circle:
    """The circle of these members; their order does not matter."""
    return _circle(tuple(sorted((member.id, member.weight) for member in members)))


@lru_cache(maxsize=8)
def _circle(weights: tuple[tuple[NodeId, int], ...]) -> Circle:
    points = sorted(
        (xxh3_64_intdigest(f"{node}/{index}".encode()), node)
        for node, weight in weights
        for index in range(TOKENS_PER_WEIGHT * weight)
    )
    return Circle(tuple(place for place, _ in points), tuple(node for _, node in points))
