"""Numbers, ranges and patterns in the arguments of commands, with the errors of Redis for bad ones."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from ringmill.client.gateway.redis.commands.command_spec import syntax_error
from ringmill.client.gateway.redis.protocol.replies import RedisError
from ringmill.cluster.limits import MAX_VALUE_BYTES

__all__ = [
    "TOO_LONG",
    "count_of_pop",
    "glob",
    "index_range",
    "literal_prefix",
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


def literal_prefix(pattern: bytes) -> bytes:
    """What every text begins with that the pattern matches."""
    for at, one in enumerate(pattern):
        if one in b"*?[\\":
            return pattern[:at]
    return pattern


@lru_cache(256)
def glob(pattern: bytes) -> re.Pattern[bytes]:
    """A pattern with *, ?, [ab], [^a], [a-c] and \\ as a regular expression for whole texts.

    What stands between two stars is matched where it is found first and never again elsewhere, so no pattern
    takes long: any other place would leave less for the rest.
    """
    pieces: list[list[bytes]] = [[]]
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
    first, *others = (b"".join(piece) for piece in pieces)
    amid = b"".join(b"(?>.*?%b)" % piece for piece in others[:-1] if piece)
    return re.compile(first + amid + (b".*" + others[-1] if others else b""), re.DOTALL)


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
