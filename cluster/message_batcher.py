"""Messages of the requests of one frame to one peer, batched.

Each request goes its own way: only its first messages wait here, until all requests of the frame have begun.
Rules G1 and W1: docs/protocol/reads.md, docs/protocol/writes.md.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["MessageBatcher"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class MessageBatcher(Generic[K, T]):
    """For requests that begin in one turn of the loop.

    `send` sends one batch: messages of one key, at least one and up to `most`.
    """

    def __init__(self, most: int, send: Callable[[K, list[T]], None]) -> None:
        self._most = most
        self._send = send
        self._waiting: dict[K, list[T]] = {}

    def add(self, key: K, message: T) -> None:
        """Let a message wait for others of its key; a full batch is sent at once."""
        waiting = self._waiting.setdefault(key, [])
        waiting.append(message)
        if len(waiting) == self._most:
            del self._waiting[key]
            self._send(key, waiting)

    def flush(self) -> None:
        """Send what waits: all requests have begun."""
        waiting, self._waiting = self._waiting, {}
        for key, batch in waiting.items():
            self._send(key, batch)
