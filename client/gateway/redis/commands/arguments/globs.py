"""Patterns with *, ?, [ab], [^a], [a-c] and \\, and a bound for the work that one of them makes.

Between two stars a pattern has a piece of a fixed length.  A piece is taken where it is found first and never
again elsewhere: any other place would leave less for the rest.  So no pattern takes time that multiplies with
its stars, and what a piece costs is at most the length of the text times its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Final

from ringmill.client.gateway.redis.protocol.replies import RedisError

__all__ = ["MOST_PATTERN_BYTES", "MOST_STEPS", "Matching", "literal_prefix"]

MOST_PATTERN_BYTES: Final = 4096
MOST_STEPS: Final = 1 << 22
"""The most comparisons of a command that is done in one go: less than 0.1 s."""
_OF_CALL: Final = 16
"""Comparisons in whose time a call is made."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """What stands between two stars: `sure` is its longest run of plain bytes, `sure_at` bytes from its
    beginning."""

    expression: re.Pattern[bytes]
    length: int
    sure: bytes
    sure_at: int
    takes_all: bool  # it has nothing but question marks

    def fits(self, text: bytes, at: int) -> bool:
        """Whether the text has it at this place."""
        if self.length == len(self.sure):
            return text.startswith(self.sure, at)
        return self.expression.match(text, at) is not None


class Matching:
    """One pattern and the texts that are compared with it.  `steps` is how many comparisons that took."""

    def __init__(self, pattern: bytes, most_steps: int | None = None) -> None:
        """Raises RedisError for a pattern that is too long."""
        if len(pattern) > MOST_PATTERN_BYTES:
            raise RedisError(f"ERR a pattern has {len(pattern)} bytes, the limit is {MOST_PATTERN_BYTES}")
        self._pieces = _pieces_of(pattern)
        self._length = sum(piece.length for piece in self._pieces)
        self._most_steps = most_steps
        self.steps = 0

    def matches(self, text: bytes) -> bool:
        """Whether all of the text is as the pattern says.  Raises RedisError when the work is too much."""
        first, last = self._pieces[0], self._pieces[-1]
        at, end = first.length, len(text) - last.length
        self._spend(_OF_CALL)
        if len(self._pieces) == 1:
            return len(text) == first.length and first.fits(text, 0)
        if len(text) < self._length or not (first.fits(text, 0) and last.fits(text, end)):
            return False
        for piece in self._pieces[1:-1]:
            at = self._found(piece, text, at, end)
            if at < 0:
                return False
            at += piece.length
        return True

    def _found(self, piece: _Piece, text: bytes, at: int, end: int) -> int:
        """Where a piece is first within these bounds; -1: nowhere."""
        if piece.takes_all:
            return at if at + piece.length <= end else -1
        if piece.length == len(piece.sure):
            found = text.find(piece.sure, at, end)
            self._spend(end - at if found < 0 else found - at)
            return found
        if not piece.sure:
            self._spend((end - at) * piece.length)
            match = piece.expression.search(text, at, end)
            return -1 if match is None else match.start()
        while (found := text.find(piece.sure, at + piece.sure_at, end)) >= 0:
            self._spend(_OF_CALL + piece.length + found - at - piece.sure_at)
            at = found - piece.sure_at
            if at + piece.length > end:
                return -1
            if piece.expression.match(text, at, end):
                return at
            at += 1
        return -1

    def _spend(self, steps: int) -> None:
        self.steps += steps
        if self._most_steps is not None and self.steps > self._most_steps:
            raise RedisError(
                f"ERR to match the pattern takes more than {self._most_steps} comparisons: scan fewer members"
                " at once, or have fewer ? and [ between two *"
            )


def literal_prefix(pattern: bytes) -> bytes:
    """What every text begins with that the pattern matches."""
    for at, one in enumerate(pattern):
        if one in b"*?[\\":
            return pattern[:at]
    return pattern


@lru_cache(256)
def _pieces_of(pattern: bytes) -> tuple[_Piece, ...]:
    """What stands before the first star, between each two, and behind the last one."""
    pieces: list[list[bytes]] = [[]]  # expressions of one byte each
    at = 0
    while at < len(pattern):
        one = pattern[at : at + 1]
        at += 1
        if one == b"*":
            pieces.append([])
        elif one == b"?":
            pieces[-1].append(b".")
        elif one == b"[":
            group, at = _group(pattern, at)
            pieces[-1].append(group)
        else:
            if one == b"\\" and at < len(pattern):
                one = pattern[at : at + 1]
                at += 1
            pieces[-1].append(re.escape(one))
    return tuple(_piece(each) for place, each in enumerate(pieces) if each or place in (0, len(pieces) - 1))


def _piece(elements: list[bytes]) -> _Piece:
    by_kind = groupby(enumerate(elements), lambda each: _is_plain(each[1]))
    run = max((list(run) for is_plain, run in by_kind if is_plain), key=len, default=[])
    sure = b"".join(element[-1:] for _, element in run)
    return _Piece(
        re.compile(b"".join(elements), re.DOTALL),
        len(elements),
        sure,
        run[0][0] if run else 0,
        takes_all=all(element == b"." for element in elements),
    )


def _is_plain(element: bytes) -> bool:
    """Whether it is one byte, escaped or not."""
    return element[:1] == b"\\" or (len(element) == 1 and element != b".")


def _group(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The expression of a group whose bracket was taken, and the place behind it."""
    is_negated = pattern[at : at + 1] == b"^"
    at += is_negated
    inside: list[bytes] = []
    while at < len(pattern) and pattern[at : at + 1] != b"]":
        if pattern[at : at + 1] == b"\\" and at + 1 < len(pattern):
            at += 1
            inside.append(re.escape(pattern[at : at + 1]))
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            low, high = sorted((pattern[at], pattern[at + 2]))
            inside.append(re.escape(bytes([low])) + b"-" + re.escape(bytes([high])))
            at += 2
        else:
            inside.append(re.escape(pattern[at : at + 1]))
        at += 1
    at = min(at + 1, len(pattern))
    if not inside:
        return (b"." if is_negated else b"(?!)"), at
    return b"[" + (b"^" if is_negated else b"") + b"".join(inside) + b"]", at
