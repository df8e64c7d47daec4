"""Who waits on this node for a key to change: told as soon as a change of its object is applied here.

A hint to look again and nothing more: what the key holds then, and whether it may be shown, a read decides
(rule N1: docs/protocol/watches.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

__all__ = ["Waiters", "Woken"]

Woken: TypeAlias = Callable[[], None]


class Waiters:
    """By stored key.  While nobody waits, a write pays for one look at `are_there`."""

    def __init__(self) -> None:
        self.are_there = False
        self._woken: dict[bytes, list[Woken]] = {}

    @contextmanager
    def waiting(self, key: bytes, woken: Woken) -> Iterator[None]:
        """While inside, `woken` is called at each change of the key, in the step that applies it."""
        self._woken.setdefault(key, []).append(woken)
        self.are_there = True
        try:
            yield
        finally:
            left = self._woken[key]
            left.remove(woken)
            if not left:
                del self._woken[key]
                self.are_there = bool(self._woken)

    def wake(self, keys: Iterable[bytes]) -> None:
        """These keys have changed."""
        for key in keys:
            for woken in self._woken.get(key, ()):
                woken()
