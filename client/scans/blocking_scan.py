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
    """A scan for callers that block; client/scans/async_scan.py says what it promises."""

    def __init__(self, subject: AsyncScan, loop: _Loop) -> None:
        self._subject = subject
        self._loop = loop

    @property
    def cursor(self) -> str:
        """Where another scan would go on, as `AsyncScan.cursor` says."""
        return self._subject.cursor

    @property
    def progress(self) -> float:
        """How many of the partitions are behind, 0 to 1."""
        return self._subject.progress

    def __iter__(self) -> Scan:
        return self

    def __next__(self) -> tuple[bytes, Item]:
        # A page stays in the subject until its items are taken one by one: Ctrl-C may end the wait for it
        # when it is already there.
        found = self._subject.next_taken()
        if found is None:
            self._loop.run(self._subject.fill())
            found = self._subject.next_taken()
        if found is None:
            raise StopIteration
        return found
