"""Numbers and ranges in the arguments of commands, with the errors of Redis for bad ones."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from ringmill.client.gateway.redis.commands.command_spec import syntax_error
from ringmill.client.gateway.redis.protocol.replies import RedisError
from ringmill.cluster.limits import MAX_VALUE_BYTES

__all__ = [
    "TOO_LONG",
    "count_of_pop",
    "index_range",
    "one_float",
    "one_integer",
    "score_text",
]

_INTEGER: Final = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_HEX: Final = re.compile(rb"[+-]?0[xX]")
_NOT_ZERO: Final = re.compile(rb"[+-]?[0.]*[1-9]")
_LEAST: Final = -(1 << 63)
_MOST: Final = (1 << 63) - 1
TOO_LONG: Final = f"ERR string exceeds maximum allowed size ({MAX_VALUE_BYTES} bytes)"
NO_INTEGER: Final = "ERR value is not an integer or out of range"


def one_integer(text: bytes, error: str = NO_INTEGER, least: int = _LEAST, most: int = _MOST) -> int:
    """A whole number of 64 bits, written as Redis writes it.  Raises RedisError with that text."""
    if _INTEGER.fullmatch(text):
        number = int(text)
        if least <= number <= most:
            return number
    raise RedisError(error)


def count_of_pop(args: Sequence[bytes], too_many: RedisError | None = None) -> int | None:
    """How many a caller wants that may leave the number out: None then.

    Raises RedisError, `too_many` for more arguments, else that of the syntax.
    """
    if len(args) > 1:
        raise too_many or syntax_error()
    return one_integer(args[0], "ERR value is out of range, must be positive", 0) if args else None


def one_float(text: bytes, error: str = "ERR value is not a valid float") -> float:
    """A number, `inf` and `-inf` too, or hexadecimal behind 0x.  Raises RedisError with that text."""
    try:
        number = float.fromhex(text.decode()) if _HEX.match(text) else float(text)
    except (ValueError, OverflowError):
        raise RedisError(error) from None
    if math.isnan(number) or text[:1].isspace() or text[-1:].isspace() or b"_" in text:
        raise RedisError(error)
    if (math.isinf(number) and text[-1:].isdigit()) or (not number and _NOT_ZERO.match(text)):
        raise RedisError(error)  # it is too large, or too near 0
    return number


def score_text(number: float) -> bytes:
    """A sum of INCRBYFLOAT: 17 digits, no exponent, no zeros at the end."""
    if number == int(number) and abs(number) < 1e17:
        return b"%d" % int(number)
    text = f"{number:.17f}" if abs(number) < 1e17 else f"{number:.0f}"
    shortest = repr(number)
    if "e" not in shortest:
        text = shortest
    return (text.rstrip("0").rstrip(".") if "." in text else text).encode()


def index_range(start: int, stop: int, length: int) -> tuple[int, int]:
    """The half-open range that `start` to `stop`, both included and counted from the end when negative,
    means of `length` items."""
    if start < 0:
        start = max(0, start + length)
    if stop < 0:
        stop += length
    return start, max(start, min(stop + 1, length))
