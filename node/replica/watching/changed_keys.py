"""Keys in the order of their last change, each once, which can be read from any number on.

They lie in pages, so that neither a change nor a reader that enters somewhere has to go through them, and a
reader copies one page at a time.  Pure.

Rule N4: docs/protocol/watches.md.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

__all__ = ["PAGE", "ChangedKeys"]

PAGE: Final = 1024
"""Keys of a page at most."""


class ChangedKeys:
    """`size_bytes` is the length of all keys."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._numbers: dict[bytes, int] = {}
        self._pages: list[dict[int, bytes]] = []  # by number, which grows on and on
        self._firsts: list[int] = []  # a page has no number below its own

    def __len__(self) -> int:
        return len(self._numbers)

    def note(self, key: bytes, number: int) -> None:
        """It has changed; `number` is above all others."""
        if (before := self._numbers.get(key)) is not None:
            self._remove(before)
        else:
            self.size_bytes += len(key)
        self._numbers[key] = number
        if not self._pages or len(self._pages[-1]) >= PAGE:
            self._pages.append({})
            self._firsts.append(number)
        self._pages[-1][number] = key

    def forget_oldest(self) -> int:
        """Returns its number.  There has to be one."""
        number, key = next(iter(self._pages[0].items()))
        self._remove(number)
        del self._numbers[key]
        self.size_bytes -= len(key)
        return number

    def clear(self) -> None:
        self._numbers.clear()
        self._pages.clear()
        self._firsts.clear()
        self.size_bytes = 0

    def behind(self, number: int) -> list[tuple[int, bytes]]:
        """The next changes above a number, in order: those of one page; none behind the last."""
        at = self._page_of(number)
        found: list[tuple[int, bytes]] = []
        for page in self._pages[at : at + 2]:
            for change in reversed(page.items()):  # mostly few are new
                if change[0] <= number:
                    break
                found.append(change)
            if found:
                break
        found.reverse()
        return found

    def _page_of(self, number: int) -> int:
        return max(0, bisect_right(self._firsts, number) - 1)

    def _remove(self, number: int) -> None:
        at = self._page_of(number)
        page = self._pages[at]
        del page[number]
        if len(page) <= PAGE // 4:
            for left in (at - 1, at):
                self._join(left)

    def _join(self, at: int) -> None:
        """Two pages, if one has room for both: none is empty but the only one."""
        if 0 <= at < len(self._pages) - 1 and len(self._pages[at]) + len(self._pages[at + 1]) <= PAGE:
            self._pages[at].update(self._pages.pop(at + 1))
            del self._firsts[at + 1]
