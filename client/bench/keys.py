"""Key distributions: uniform, Zipf and latest, as in YCSB.

Key numbers are drawn in chunks, because single draws are slow.  The same seed gives the same numbers._
Source: Cooper et al., "Benchmarking Cloud Serving Systems with YCSB" (2010), section 4.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Final

__all__ = ["DISTRIBUTIONS", "ZIPF_EXPONENT", "KeySpace", "numbers"]

DISTRIBUTIONS: Final = ("uniform", "zipf", "latest")
ZIPF_EXPONENT: Final = 0.99
_CHUNK: Final = 4096


class KeySpace:
    """Numbered keys: a prefix and 12 digits.  Inserts increase `count`; `loaded` keys existed before.

    With a `group`, that many keys in a row share a hash tag: the prefix, the number of their group in braces,
    and 3 digits.
    """

    __slots__ = ("count", "group", "loaded", "prefix")

    def __init__(self, count: int, prefix: str = "key:", *, group: int = 0) -> None:
        self.prefix = prefix
        self.group = group
        self.loaded = count
        self.count = count

    def key(self, number: int) -> bytes:
        if self.group:
            number, within = divmod(number, self.group)
            return f"{self.prefix}{{{number:07d}}}{within:03d}".encode()
        return f"{self.prefix}{number:012d}".encode()

    def grow(self) -> int:
        """The number of a new key."""
        self.count += 1
        return self.count - 1


def numbers(distribution: str, space: KeySpace, seed: int) -> Iterator[int]:
    """An endless series of key numbers.  Raises ValueError for an unknown distribution."""
    drawn = random.Random(seed)
    if distribution == "uniform":
        return _uniform(space, drawn)
    if distribution == "zipf":
        return _scattered(space, drawn)
    if distribution == "latest":
        return _latest(space, drawn)
    raise ValueError(f"{distribution!r} is not a distribution of keys; there are {', '.join(DISTRIBUTIONS)}")


def _uniform(space: KeySpace, drawn: random.Random) -> Iterator[int]:
    while True:
        yield from drawn.choices(range(space.count), k=_CHUNK)


def _scattered(space: KeySpace, drawn: random.Random) -> Iterator[int]:
    """Zipf ranks, shuffled over the loaded keys so that popular keys are not adjacent."""
    dealt = list(range(space.loaded))
    drawn.shuffle(dealt)
    return (dealt[rank] for rank in _ranks(space.loaded, drawn))


def _latest(space: KeySpace, drawn: random.Random) -> Iterator[int]:
    """The newest key most often; older keys by Zipf's law of their age."""
    return (space.count - 1 - age for age in _ranks(space.loaded, drawn))


def _ranks(count: int, drawn: random.Random) -> Iterator[int]:
    """Ranks from 0, with the probabilities of Zipf's law."""
    weights = list(itertools.accumulate((rank + 1) ** -ZIPF_EXPONENT for rank in range(count)))
    while True:
        yield from drawn.choices(range(count), cum_weights=weights, k=_CHUNK)
