"""The blocking twin of a scan: an iterator that waits for each page.

for key, item in db.scan(prefix="user:"): ...
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from ringmill.client.scans.async_scan import AsyncScan
from ringmill.client.values import Item

__all__ = ["Scan"]

T = TypeVar("T")


class _Loop(Protocol):
    """The loop of a blocking client."""

    def run(self, work: Coroutine[Any, Any, T], limit_s: float | None = None) -> T: ...


class Scan:
    """As client/scans/async_scan.py promises."""

    def __init__(self, subject: AsyncScan, loop: _Loop) -> None:
        self._subject = subject
        self._loop = loop
        self._taken: list[tuple[bytes, Item]] = []  # of one page, the next one last
        self._began = subject.cursor

    @property
    def cursor(self) -> str:
        """Where another scan would go on, as `AsyncScan.cursor` says."""
        return self._began if self._taken else self._subject.cursor

    @property
    def progress(self) -> float:
        """How many of the partitions are behind, 0 to 1."""
        return self._subject.progress

    def __iter__(self) -> Scan:
        return self

    def __next__(self) -> tuple[bytes, Item]:
        if not self._taken:
            self._began = self._subject.cursor
            self._taken = self._loop.run(self._subject.page())[::-1]
        if not self._taken:
            raise StopIteration
        return self._taken.pop()
