"""HSCAN, SSCAN and ZSCAN: a value is read whole, so its members come in one page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import glob, one_integer
from ringmill.client.gateway.redis.commands.command_spec import syntax_error

__all__ = ["scanned"]


def scanned(cursor: bytes, options: Sequence[bytes], members: Iterable[bytes]) -> list[bytes]:
    """The members that a MATCH among the options matches; COUNT is checked and means nothing.

    Raises RedisError.
    """
    one_integer(cursor, "ERR invalid cursor", 0)
    pattern = None
    if len(options) % 2:
        raise syntax_error()
    for word, text in zip(options[::2], options[1::2], strict=True):
        if word.upper() == b"MATCH":
            pattern = glob(text)
        elif word.upper() != b"COUNT" or one_integer(text) < 1:
            raise syntax_error()
    return [member for member in members if pattern is None or pattern.fullmatch(member)]
