"""Random numbers that a task can repeat: the same seed gives the same numbers, on any machine.

Pure: a counter hashed with BLAKE2b, so that neither the Python version nor the number of draws made
elsewhere matters.  Not for secrets.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

__all__ = ["TaskRandom"]

T = TypeVar("T")


class TaskRandom:
    """A stream of pseudo-random numbers, wholly given by its seed text."""

    __slots__ = ("_counter", "_seed")

    def __init__(self, seed: str) -> None:
        self._seed = blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=32).digest()
        self._counter = 0

    def bits64(self) -> int:
        """The next 64 bits, as an unsigned number."""
        self._counter += 1
        block = blake2b(self._counter.to_bytes(8, "big"), key=self._seed, digest_size=8)
        return int.from_bytes(block.digest(), "big")

    def random(self) -> float:
        """A float in [0, 1), with 53 bits."""
        return (self.bits64() >> 11) / (1 << 53)

    def randrange(self, stop: int) -> int:
        """A whole number in [0, stop); stop is at most 2^64."""
        if not 0 < stop <= 1 << 64:
            raise ValueError(f"randrange needs a stop of 1 to 2^64, not {stop}")
        limit = (1 << 64) - (1 << 64) % stop
        while (drawn := self.bits64()) >= limit:
            continue
        return drawn % stop

    def choice(self, options: Sequence[T]) -> T:
        """One of a non-empty sequence."""
        return options[self.randrange(len(options))]

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Put the items into a random order, in place (Fisher-Yates)."""
        for last in range(len(items) - 1, 0, -1):
            other = self.randrange(last + 1)
            items[last], items[other] = items[other], items[last]
