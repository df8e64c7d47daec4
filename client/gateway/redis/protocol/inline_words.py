"""The words of a command that is typed as a line, such as `SET greeting "hello world"`."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_foreign", "words_of"]

_SPACES: Final = b" \t\r\x00\x0b\x0c"
_ESCAPES: Final = {ord("n"): b"\n", ord("r"): b"\r", ord("t"): b"\t", ord("b"): b"\b", ord("a"): b"\a"}
_HEX: Final = re.compile(rb"\\x([0-9a-fA-F]{2})")

_OF_HTTP: Final = (b"POST", b"HOST:")
"""No command of Redis begins with one of these."""
_HTTP_METHODS: Final = frozenset(
    (b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT")
)
_HTTP_VERSION: Final = re.compile(rb"HTTP/[0-9](\.[0-9])?", re.IGNORECASE)
_TLS_HANDSHAKE: Final = b"\x16\x03"


def is_foreign(words: list[bytes]) -> bool:
    """Whether the words of a line are of HTTP or TLS: what follows may be made by a page in a browser."""
    first = words[0].upper()
    if first in _OF_HTTP or first.startswith(_TLS_HANDSHAKE):
        return True
    is_request = len(words) == 3 and first in _HTTP_METHODS
    return is_request and _HTTP_VERSION.fullmatch(words[2]) is not None


def words_of(line: bytes) -> list[bytes] | None:
    """The words; None when a quote is not closed or a word goes on right after one.

    Double quotes know \\n, \\r, \\t, \\b, \\a and \\xHH; single quotes know \\' only.
    """
    words: list[bytes] = []
    at = 0
    while True:
        while at < len(line) and line[at] in _SPACES:
            at += 1
        if at >= len(line):
            return words
        found = _word(line, at)
        if found is None:
            return None
        word, at = found
        words.append(word)


def _word(line: bytes, at: int) -> tuple[bytes, int] | None:
    word = bytearray()
    while at < len(line) and line[at] not in _SPACES:
        if line[at] in b"\"'":
            found = _quoted(line, at)
            if found is None:
                return None
            part, at = found
            word += part
            if at < len(line) and line[at] not in _SPACES:
                return None
        else:
            word.append(line[at])
            at += 1
    return bytes(word), at


def _quoted(line: bytes, at: int) -> tuple[bytes, int] | None:
    """The text from the quote at `at`, and the place behind its end."""
    quote, text = line[at], bytearray()
    at += 1
    while at < len(line):
        one = line[at]
        if one == quote:
            return bytes(text), at + 1
        if one != 0x5C or at + 1 >= len(line):  # backslash
            text.append(one)
            at += 1
        elif quote == 0x27:  # single quote
            text += b"'" if line[at + 1] == quote else line[at : at + 2]
            at += 2
        elif match := _HEX.match(line, at):
            text.append(int(match[1], 16))
            at = match.end()
        else:
            text += _ESCAPES.get(line[at + 1], line[at + 1 : at + 2])
            at += 2
    return None
