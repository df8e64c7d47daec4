"""Which hints wait here for which owner: their keys, sizes and ages, in memory.  The engine has the objects.

Every look is quick, also at many hints: what is asked often is counted as hints come and go.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.topology import Topology
from ringmill.node.replica.stored_key import HintKey

__all__ = ["LOOKED_AT", "HintIndex"]

LOOKED_AT: Final = 4096  # in one step: takes about a millisecond


class HintIndex:
    """`by_target` are the hints that a start has found: for each owner the size of each hint, in bytes."""

    def __init__(self, by_target: dict[NodeId, dict[HintKey, int]], now: Callable[[], float]) -> None:
        self._by_target = by_target  # who was tried stands behind
        self._now = now
        self._bytes = {target: sum(sizes.values()) for target, sizes in by_target.items()}
        self._partitions = {
            target: Counter(key.partition for key in sizes) for target, sizes in by_target.items()
        }
        self.count = sum(len(sizes) for sizes in by_target.values())
        """Hints, once for each target: each takes some memory, of any size."""
        began = now()
        self._since = {
            target: OrderedDict.fromkeys(keys, began) for target, keys in by_target.items()
        }  # oldest first

    def counts(self) -> dict[NodeId, int]:
        """The number of hints for each owner that has some."""
        return {target: len(keys) for target, keys in self._by_target.items() if keys}

    def waited_s(self) -> dict[NodeId, float]:
        """How long the oldest hint for each owner has waited."""
        now = self._now()
        return {target: now - self.oldest(target) for target, keys in self._since.items() if keys}

    def partitions(self) -> set[PartitionId]:
        """The partitions of which some hint waits."""
        return {partition for counts in self._partitions.values() for partition in counts}

    def at_former(self, target: NodeId, topology: Topology, limit: int) -> list[HintKey]:
        """Some hints for an owner, of partitions that it owns no longer.

        Some thousands are looked at, and those that stay go behind the others: all have their turn.
        """
        counts = self._partitions.get(target, Counter())
        former = {partition for partition in counts if target not in topology.row(partition).nodes}
        if not former:
            return []
        looked = self.first(target, LOOKED_AT)
        found = [key for key in looked if key.partition in former][:limit]
        if not found:
            self.stand_behind(target, looked)
        return found

    def first(self, target: NodeId, limit: int) -> list[HintKey]:
        """Some hints for an owner, oldest first (by when they were kept or last tried)."""
        return list(islice(self._by_target.get(target, {}), limit))

    def stand_behind(self, target: NodeId, keys: Iterable[HintKey]) -> None:
        """Move hints to the back of the queue, so that failing hints cannot starve the rest."""
        waiting = self._by_target.get(target, {})
        for key in keys:
            if key in waiting:
                waiting[key] = waiting.pop(key)

    def waits(self, target: NodeId, key: HintKey) -> bool:
        """Whether a hint of this key waits for this owner."""
        return key in self._by_target.get(target, {})

    def targets_of(self, key: HintKey) -> tuple[NodeId, ...]:
        """The owners for which a hint of this key waits, sorted."""
        return tuple(sorted(node for node in self._by_target if self.waits(node, key)))

    def count_of(self, target: NodeId) -> int:
        """How many hints wait for this owner."""
        return len(self._by_target.get(target, {}))

    def bytes_of(self, target: NodeId) -> int:
        """The bytes of all hints for this owner."""
        return self._bytes.get(target, 0)

    def size_of(self, target: NodeId, key: HintKey) -> int | None:
        """The bytes of one hint; None when none of this key waits for this owner."""
        return self._by_target.get(target, {}).get(key)

    def oldest(self, target: NodeId) -> float:
        """When the oldest hint that waits for this owner was kept; now when none does."""
        return next(iter(self._since.get(target, {}).values()), self._now())

    def add(self, target: NodeId, key: HintKey, size: int) -> None:
        """A hint of this size waits for this owner; it takes the place of that key's."""
        waiting = self._by_target.setdefault(target, {})
        self._since.setdefault(target, OrderedDict()).setdefault(key, self._now())
        self._bytes[target] = self._bytes.get(target, 0) - waiting.get(key, 0) + size
        if key not in waiting:
            self._partitions.setdefault(target, Counter())[key.partition] += 1
            self.count += 1
        waiting[key] = size

    def remove(self, target: NodeId, key: HintKey) -> None:
        """No hint of this key waits for this owner any more."""
        waiting = self._by_target.get(target, {})
        if key in waiting:
            self._bytes[target] -= waiting.pop(key)
            self.count -= 1
            counts = self._partitions[target]
            counts[key.partition] -= 1
            if not counts[key.partition]:
                del counts[key.partition]
            del self._since[target][key]

    def renew(self, target: NodeId, key: HintKey) -> None:
        """The owner has all of a hint but what came just now: it has waited since now."""
        if self.waits(target, key):
            del self._since[target][key]
            self._since[target][key] = self._now()
