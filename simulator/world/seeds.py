"""The Entropy door of simulated nodes, over the named streams of client/checked/seeds.py."""

from __future__ import annotations

from random import Random

from ringmill.client.checked.seeds import seeded_stream as stream

__all__ = ["SeededEntropy", "stream"]


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
