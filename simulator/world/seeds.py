"""Named streams of randomness from one seed: schedule, faults and workload do not disturb each other.

A stream's numbers depend on the seed and its name alone, never on `hash()`, so that they are the same in
every process and under every PYTHONHASHSEED.
"""

from __future__ import annotations

import hashlib
from random import Random

__all__ = ["SeededEntropy", "stream"]


def stream(seed: int, name: str) -> Random:
    """A random generator for one purpose."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return Random(int.from_bytes(digest[:16], "big"))


class SeededEntropy:
    """The Entropy door of one node: a stream a purpose."""

    def __init__(self, seed: int, owner: str) -> None:
        self._seed = seed
        self._owner = owner
        self._streams: dict[str, Random] = {}

    def random_bytes(self, purpose: str, size: int) -> bytes:
        return self._stream(purpose).randbytes(size)

    def uniform(self, purpose: str) -> float:
        return self._stream(purpose).random()

    def _stream(self, purpose: str) -> Random:
        found = self._streams.get(purpose)
        if found is None:
            found = self._streams[purpose] = stream(self._seed, f"{self._owner}/{purpose}")
        return found
