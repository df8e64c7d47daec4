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
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Generic, TypeVar

__all__ = ["Counted", "SpaceSaving"]

K = TypeVar("K", bound=Hashable)
_count_of: Final = itemgetter(1)


@dataclass(frozen=True, slots=True)
class Counted:
    """`count - surplus` is what was counted of a key since it came in; `parts` are of that."""

    count: float
    surplus: float
    parts: list[float]


class SpaceSaving(Generic[K]):
    def __init__(self, capacity: int, *, parts: int = 0) -> None:
        assert capacity >= 1, "a sketch holds a key at least"
        self._capacity = capacity
        self._no_parts = [0.0] * parts
        self._counts: dict[K, float] = {}  # apart from the rest, as the least is looked for in it
        self._rest: dict[K, tuple[float, list[float]]] = {}

    def add(self, key: K, weight: float) -> list[float]:
        """Count a key.  Returns its parts, for the caller to add to."""
        counts = self._counts
        count = counts.get(key)
        if count is None:
            count = 0.0
            if len(counts) >= self._capacity:
                least, count = min(counts.items(), key=_count_of)  # no key is hashed for that
                del counts[least], self._rest[least]
            self._rest[key] = count, self._no_parts.copy()
        counts[key] = count + weight
        return self._rest[key][1]

    @property
    def floor(self) -> float:
        """The most that a key may have that is not held."""
        return min(self._counts.values()) if len(self._counts) >= self._capacity else 0.0

    def items(self) -> list[tuple[K, Counted]]:
        """The keys that are held, those with the largest counts first."""
        most_first = sorted(self._counts.items(), key=lambda item: -item[1])
        return [(key, Counted(count, *self._rest[key])) for key, count in most_first]

    def scale(self, factor: float) -> None:
        """Multiply all counts, as they fade."""
        self._counts = {key: count * factor for key, count in self._counts.items()}
        self._rest = {
            key: (surplus * factor, [part * factor for part in parts])
            for key, (surplus, parts) in self._rest.items()
        }
