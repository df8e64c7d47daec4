"""Replies as bytes, in version 2 or 3 of Redis's protocol.

A handler returns plain Python values: None, int, float, bool, bytes (a bulk string), str (a simple string),
list, dict, set, and `RedisError` for an error.  What version 2 has no type for becomes what Redis 2 callers
know: a map is a flat array, a set an array, a float a bulk string, a truth value 1 or 0.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Final, TypeAlias, cast

__all__ = ["OK", "NullArray", "RedisError", "Reply", "double_text", "encode_reply"]

OK: Final = "OK"
_HEADS: Final = [b"$%d" % length for length in range(1024)]
"""What goes before a short bulk string, by its length."""
_LONG: Final = 1 << 15
"""From here on a format costs more: it takes a quarter of memory too much, and gives that back in the end."""


class RedisError(Exception):
    """An error that the caller is told: `text` begins with its kind, such as ERR or WRONGTYPE."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class NullArray:
    """The reply of a command that would have returned an array and has found nothing."""


Reply: TypeAlias = (
    "int | float | bool | bytes | str | NullArray | RedisError"
    " | list[Reply] | dict[Reply, Reply] | AbstractSet[bytes] | None"
)


def encode_reply(reply: Reply, version: int) -> bytes:
    """The bytes of one reply; `version` is 2 or 3."""
    if type(reply) is bytes:
        if len(reply) > _LONG:
            return b"".join((b"$%d\r\n" % len(reply), reply, b"\r\n"))
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if reply is OK:
        return b"+OK\r\n"
    if type(reply) is int:
        return b":%d\r\n" % reply
    into: list[bytes] = []
    _encode(reply, version, into)
    return b"".join(into)


def double_text(number: float) -> bytes:
    """A float as Redis writes it: as few digits as tell it apart, without ".0", `inf` for infinities."""
    if math.isinf(number):
        return b"inf" if number > 0 else b"-inf"
    if math.isnan(number):
        return b"nan"
    if number == int(number) and abs(number) < 1e17:
        return b"-0" if number == 0 and math.copysign(1, number) < 0 else b"%d" % int(number)
    return repr(number).encode()


def _encode(reply: Reply, version: int, into: list[bytes]) -> None:
    if isinstance(reply, bytes):
        into.append(b"$%d\r\n%b\r\n" % (len(reply), reply))
    elif reply is None:
        into.append(b"_\r\n" if version == 3 else b"$-1\r\n")
    elif isinstance(reply, bool):
        into.append((b"#t\r\n" if reply else b"#f\r\n") if version == 3 else b":%d\r\n" % reply)
    elif isinstance(reply, int):
        into.append(b":%d\r\n" % reply)
    elif isinstance(reply, str):
        into.append(b"+%b\r\n" % reply.encode())
    elif isinstance(reply, float):
        text = double_text(reply)
        into.append(b",%b\r\n" % text if version == 3 else b"$%d\r\n%b\r\n" % (len(text), text))
    elif isinstance(reply, RedisError):
        into.append(b"-%b\r\n" % reply.text.replace("\r", " ").replace("\n", " ").encode())
    elif isinstance(reply, NullArray):
        into.append(b"_\r\n" if version == 3 else b"*-1\r\n")
    else:
        _encode_many(reply, version, into)


def _encode_many(
    reply: list[Reply] | dict[Reply, Reply] | AbstractSet[bytes], version: int, into: list[bytes]
) -> None:
    if isinstance(reply, dict):
        into.append(b"%%%d\r\n" % len(reply) if version == 3 else b"*%d\r\n" % (2 * len(reply)))
        _encode_items(list(chain.from_iterable(reply.items())), version, into)
    elif isinstance(reply, list):
        into.append(b"*%d\r\n" % len(reply))
        _encode_items(reply, version, into)
    else:
        into.append(b"~%d\r\n" % len(reply) if version == 3 else b"*%d\r\n" % len(reply))
        _encode_items(reply, version, into)


def _encode_items(items: list[Reply] | AbstractSet[bytes], version: int, into: list[bytes]) -> None:
    """One after the other.  Short bulk strings, as most are, take no step of Python each."""
    if set(map(type, items)) != {bytes}:
        for one in items:
            _encode(one, version, into)
        return
    texts = cast("Collection[bytes]", items)
    if max(map(len, texts)) >= len(_HEADS):
        into += [b"$%d\r\n%b\r\n" % (len(text), text) for text in texts]
        return
    lines = [b""] * (2 * len(texts) + 1)
    lines[0:-1:2] = map(_HEADS.__getitem__, map(len, texts))
    lines[1::2] = texts
    into.append(b"\r\n".join(lines))
