"""Keeps requests about one key in their order, while requests about different keys pass each other.

A frame does not promise an order, and a request that is sent again comes late.  So a write waits until every
earlier request about its key has ended, and a read until every earlier write has.  Pure.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

__all__ = ["KeyOrder"]

T = TypeVar("T")


class _Line(Generic[T]):
    """Requests about one key: how many are under way, and those that wait behind them."""

    __slots__ = ("has_write", "under_way", "waiting")

    def __init__(self) -> None:
        self.under_way = 0
        self.has_write = False
        self.waiting: deque[tuple[bool, T]] | None = None  # most keys come once

    def admits(self, *, is_write: bool) -> bool:
        """Whether one more may begin beside those under way."""
        return not self.under_way or not (is_write or self.has_write)

    def begin(self, *, is_write: bool) -> None:
        self.under_way += 1
        self.has_write = is_write


class KeyOrder(Generic[T]):
    """The requests of one batch by key."""

    def __init__(self) -> None:
        self._lines: dict[bytes, _Line[T]] = {}

    def enter(self, key: bytes, request: T, *, is_write: bool) -> bool:
        """True: it may begin now.  False: `leave` returns it later."""
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
        if not line.waiting and line.admits(is_write=is_write):
            line.begin(is_write=is_write)
            return True
        if line.waiting is None:
            line.waiting = deque()
        line.waiting.append((is_write, request))
        return False

    def leave(self, key: bytes) -> list[T]:
        """One request about the key has ended: those that may begin now, in their order."""
        line = self._lines[key]
        line.under_way -= 1
        free: list[T] = []
        while line.waiting and line.admits(is_write=line.waiting[0][0]):
            is_write, request = line.waiting.popleft()
            line.begin(is_write=is_write)
            free.append(request)
        if not line.under_way:
            del self._lines[key]
        return free
