"""Tells works that read what is stored which keys were written meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

__all__ = ["WrittenKeys"]


class WrittenKeys:
    def __init__(self) -> None:
        self._sets: list[set[bytes]] = []

    @contextmanager
    def noted(self) -> Iterator[set[bytes]]:
        """A set that takes in each stored key that is written until the block is left."""
        keys: set[bytes] = set()
        self._sets.append(keys)
        try:
            yield keys
        finally:
            self._sets = [each for each in self._sets if each is not keys]

    def add(self, keys: Collection[bytes]) -> None:
        """These are written now."""
        for each in self._sets:
            each.update(keys)
