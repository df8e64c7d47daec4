"""The keys that come most often, in bounded memory.

Space-Saving (Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data
Streams", 2005), with weights.  A key that is not held takes the place of the one with the smallest count, and
inherits that count as its surplus.  With `capacity` entries and a total weight of W:

- count - surplus <= the true weight of a key that is held <= count;
- the true weight of a key that is not held <= `floor` <= W / capacity;
- so each key with more than W / capacity is held.

A count-min sketch with a heap promises less for the same memory: its bound is a probability, it has no lower
bound for a key, and it hashes a key several times.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Counted", "SpaceSaving"]

K = TypeVar("K", bound=Hashable)


class Counted:
    """One entry.  `count - surplus` is what was counted since it came in; `parts` are of that."""

    __slots__ = ("count", "parts", "surplus")

    def __init__(self, surplus: float, parts: int) -> None:
        self.count = surplus
        self.surplus = surplus
        self.parts = [0.0] * parts


class SpaceSaving(Generic[K]):
    def __init__(self, capacity: int, *, parts: int = 0) -> None:
        assert capacity >= 1, "a sketch holds a key at least"
        self._capacity = capacity
        self._parts = parts
        self._entries: dict[K, Counted] = {}

    def add(self, key: K, weight: float) -> Counted:
        """Count a key.  The caller adds to the `parts` of what is returned."""
        entries = self._entries
        entry = entries.get(key)
        if entry is None:
            surplus = 0.0
            if len(entries) >= self._capacity:
                least = min(entries, key=self._count)
                surplus = entries.pop(least).count
            entry = entries[key] = Counted(surplus, self._parts)
        entry.count += weight
        return entry

    @property
    def floor(self) -> float:
        """The most that a key may have that is not held."""
        if len(self._entries) < self._capacity:
            return 0.0
        return min(entry.count for entry in self._entries.values())

    def items(self) -> list[tuple[K, Counted]]:
        """The keys that are held, those with the largest counts first."""
        return sorted(self._entries.items(), key=lambda item: -item[1].count)

    def scale(self, factor: float) -> None:
        """Multiply all counts, as they fade."""
        for entry in self._entries.values():
            entry.count *= factor
            entry.surplus *= factor
            entry.parts = [part * factor for part in entry.parts]

    def _count(self, key: K) -> float:
        return self._entries[key].count
