"""What a map task keeps of the pairs of map until it writes them: lists of values, one value a key, or pairs.

Pure.  Lists are shortened by combine when the buffer is full and when it is written.  A fold that keeps one
value a key never lets lists arise: its pairs are folded as they come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, compress, islice, repeat
from operator import length_hint
from typing import Any, Final, Protocol, TypeAlias

from ringmill.cluster.mapreduce.api.folds import BoundFold
from ringmill.cluster.mapreduce.footprint import GROUP_OVERHEAD, RecordSizes, footprint

__all__ = ["Buffer", "FoldBuffer", "KeyBuffer", "ListBuffer", "LongGroup", "PairBuffer", "Shorten"]

Pair: TypeAlias = tuple[Any, Any]
LongGroup: TypeAlias = tuple[Any, Iterable[Any]]
"""A key, and at least two values."""
Shorten: TypeAlias = Callable[[Iterable[LongGroup]], Iterable[tuple[Any, list[Any]]]]
"""Each key with the values that stand for those given."""

_SLOT: Final = 8  # of a list


class Buffer(Protocol):
    """Pairs of one map task, by key."""

    taken: int  # pairs in all; right after `leave`

    def take(self, pairs: Iterator[Pair], sizes: RecordSizes) -> bool:
        """Take a batch of pairs; False when there are none.  Raises TypeError or ValueError for no pair."""
        ...

    def shorten(self, sizes: RecordSizes | None = None) -> None:
        """Combine the values of each key; `sizes` learns what is left."""
        ...

    overhead: int  # bytes beside each key
    has_lists: bool  # whether `leave` gives a list of values for each key, or one value

    def leave(self) -> tuple[Sequence[Any], Sequence[Any]]:
        """The keys and what is kept of each; the buffer is empty afterwards."""
        ...

    def __len__(self) -> int:
        """Distinct keys."""
        ...


class ListBuffer:
    """All values of a key in a list, in the order in which they came."""

    has_lists = True
    overhead = GROUP_OVERHEAD

    def __init__(self, shorten: Shorten | None) -> None:
        self._groups: defaultdict[Any, list[Any]] = defaultdict(list)
        self._shorten = shorten
        self.taken = 0
        self._carried = 0  # values in the buffer that were counted before

    def __len__(self) -> int:
        return len(self._groups)

    def take(self, pairs: Iterator[Pair], sizes: RecordSizes) -> bool:
        groups = self._groups
        for key, value in pairs:
            groups[key].append(value)
            sizes.sample(key, value)
            batch = sizes.batch
            for key, value in islice(pairs, batch - 1):  # noqa: PLW2901 - the hot loop
                groups[key].append(value)
            return True
        return False

    def shorten(self, sizes: RecordSizes | None = None) -> None:
        if self._shorten is not None:
            self._count()
            groups = self._groups
            groups.update(self._shorten(group for group in groups.items() if len(group[1]) > 1))
            self._carried = self._held()
            if sizes is not None:
                sizes.combined(list(chain.from_iterable(groups.values())))

    def leave(self) -> tuple[Sequence[Any], Sequence[Sequence[Any]]]:
        self._count()
        self._carried = 0
        groups, self._groups = self._groups, defaultdict(list)
        return list(groups), list(groups.values())

    def _count(self) -> None:
        self.taken += self._held() - self._carried

    def _held(self) -> int:
        return sum(map(len, self._groups.values()))


class FoldBuffer:
    """One value a key, by a fold that has `add`."""

    has_lists = False
    overhead = GROUP_OVERHEAD

    def __init__(self, fold: BoundFold) -> None:
        assert fold.add is not None
        self._add = fold.add
        self._totals: dict[Any, Any] = {}
        self.taken = 0

    def __len__(self) -> int:
        return len(self._totals)

    def take(self, pairs: Iterator[Pair], sizes: RecordSizes) -> bool:
        for first in pairs:
            key, value = first
            sizes.sample(key, value)
            batch = sizes.batch
            untaken = repeat(True, batch)  # one less for every pair, which costs no step of Python
            self._add(self._totals, compress(chain((first,), islice(pairs, batch - 1)), untaken))
            self.taken += batch - length_hint(untaken)
            sizes.kept(len(self._totals))
            return True
        return False

    def shorten(self, sizes: RecordSizes | None = None) -> None:
        """Nothing to do: a key never has more than one value."""

    def leave(self) -> tuple[Sequence[Any], Sequence[Any]]:
        totals, self._totals = self._totals, {}
        return list(totals), list(totals.values())


class PairBuffer:
    """Pairs as they come, of a job that neither combines nor reduces: no key needs a list of its own."""

    has_lists = False
    overhead = _SLOT

    def __init__(self) -> None:
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self.taken = 0

    def __len__(self) -> int:
        return len(self._keys)

    def take(self, pairs: Iterator[Pair], sizes: RecordSizes) -> bool:
        for first in pairs:
            key, value = first
            sizes.sample(key, value)
            add_key, add_value = self._keys.append, self._values.append
            for key, value in chain((first,), islice(pairs, sizes.batch - 1)):
                add_key(key)
                add_value(value)
            return True
        return False

    def shorten(self, sizes: RecordSizes | None = None) -> None:
        """Nothing to do: nothing combines."""

    def leave(self) -> tuple[Sequence[Any], Sequence[Any]]:
        keys, values, self._keys, self._values = self._keys, self._values, [], []
        self.taken += len(keys)
        return keys, values


class KeyBuffer:
    """Keys without values, each as often as it was given."""

    def __init__(self) -> None:
        self._keys: list[Any] = []
        self._bytes = 0
        self.taken = 0

    def take(self, keys: Sequence[Any]) -> None:
        self._keys += keys
        self.taken += len(keys)
        if keys:
            self._bytes += len(keys) * (footprint(keys[len(keys) // 2]) + _SLOT)

    def estimate(self) -> int:
        """Bytes that the keys take; one of each batch is measured."""
        return self._bytes

    def leave(self) -> list[Any]:
        """The keys; the buffer is empty afterwards."""
        keys, self._keys, self._bytes = self._keys, [], 0
        return keys
