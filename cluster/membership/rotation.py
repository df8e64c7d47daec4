"""Chooses the next member to probe: every member once in each lap, in an order shuffled for each lap.

SWIM (2002), section 4.3: with a shuffled round robin the time until a member is next probed is bounded,
which a random choice each time would not give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ringmill.cluster.ids import NodeId

__all__ = ["Rotation"]


class Rotation:
    """Laps over the members; `hurry` lets one jump the queue."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._members: tuple[NodeId, ...] = ()
        self._lap: list[NodeId] = []
        self._urgent: list[NodeId] = []

    def set_members(self, members: Sequence[NodeId]) -> None:
        """New members join the lap under way at a random place."""
        fresh = [node for node in members if node not in self._members]
        self._members = tuple(members)
        self._lap = [node for node in self._lap if node in members]
        self._urgent = [node for node in self._urgent if node in members]
        for node in fresh:
            self._lap.insert(int(self._random() * (len(self._lap) + 1)), node)

    def hurry(self, node: NodeId) -> None:
        if node not in self._urgent:
            self._urgent.append(node)

    def next(self, is_wanted: Callable[[NodeId], bool]) -> NodeId | None:
        """The next wanted member, or None when a whole lap has none; those not wanted lose their turn."""
        while self._urgent:
            node = self._urgent.pop(0)
            if is_wanted(node):
                return node
        for _ in range(2):
            while self._lap:
                node = self._lap.pop()
                if is_wanted(node):
                    return node
            self._shuffle()
        return None

    def _shuffle(self) -> None:
        self._lap = list(self._members)
        for i in range(len(self._lap) - 1, 0, -1):
            j = int(self._random() * (i + 1))
            self._lap[i], self._lap[j] = self._lap[j], self._lap[i]
