"""What requests of one frame have to say to one owner travels in one message.

Each request goes its own way: only its first messages wait here, until all requests of the frame have begun.
Rules G1 and W1: docs/protocol/reads.md, docs/protocol/writes.md.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Together"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Together(Generic[K, T]):
    """For requests that begin in one turn of the loop.

    `send` sends what may travel together, at least one and up to `most`.
    """

    def __init__(self, most: int, send: Callable[[K, list[T]], None]) -> None:
        self._most = most
        self._send = send
        self._waiting: dict[K, list[T]] = {}

    def add(self, key: K, one: T) -> None:
        """Of one `key` are those that may travel together."""
        waiting = self._waiting.setdefault(key, [])
        waiting.append(one)
        if len(waiting) == self._most:
            del self._waiting[key]
            self._send(key, waiting)

    def launch(self) -> None:
        """All requests have begun."""
        waiting, self._waiting = self._waiting, {}
        for key, together in waiting.items():
            self._send(key, together)
