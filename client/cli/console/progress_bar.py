"""Progress of a simulated run or a campaign on stderr: a bar on a terminal, a line every few seconds in a
pipe."""

from __future__ import annotations

import os
import sys
import time
from typing import Final

__all__ = ["Bar"]

_REDRAW_S: Final = 0.1
_LINE_EVERY_S: Final = 5.0
_CELLS: Final = 30


class Bar:
    """`show` limits its own rate, so call it at every step; `end` moves the cursor to a new line."""

    def __init__(self, what: str, most: int, doing: str = "simulating") -> None:
        self._what = what
        self._doing = doing
        self._most = max(1, most)
        self._is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._began = time.monotonic()
        self._next = self._began if self._is_terminal else self._began + _LINE_EVERY_S
        self._is_open = False

    def show(self, done: int) -> None:
        now = time.monotonic()
        if now < self._next and not (self._is_terminal and done == self._most):
            return
        self._next = now + (_REDRAW_S if self._is_terminal else _LINE_EVERY_S)
        if self._is_terminal:
            self._draw(done, now - self._began)
        else:
            _put(f"{self._doing}: {done:,} of {self._most:,} {self._what}\n")

    def end(self) -> None:
        if self._is_open:
            _put("\n")
            self._is_open = False

    def _draw(self, done: int, spent_s: float) -> None:
        filled = min(_CELLS, _CELLS * done // self._most)
        rate = done / spent_s if spent_s > 0 else 0.0
        left = f", {(self._most - done) / rate:.0f} s left" if rate and done < self._most else ""
        bar = "#" * filled + "." * (_CELLS - filled)
        text = f"\r{self._doing} [{bar}] {done:,}/{self._most:,} {self._what}, {rate:.1f}/s{left}\x1b[K"
        _put(text)
        self._is_open = True


def _put(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
