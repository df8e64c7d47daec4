"""When a key is to expire, and under which condition it is set: the options of SET, GETEX and EXPIRE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import one_integer
from ringmill.client.gateway.redis.commands.command_spec import syntax_error
from ringmill.client.gateway.redis.protocol.replies import RedisError

__all__ = ["SetOptions", "at_of", "expiry_of", "set_options"]

_UNITS: Final = {b"EX": (1000, False), b"PX": (1, False), b"EXAT": (1000, True), b"PXAT": (1, True)}
_MOST_MS: Final = (1 << 63) - 1


@dataclass(slots=True)
class SetOptions:
    """`expires_at_ms` is since 1970; 0: never."""

    expires_at_ms: int = 0
    keeps_expiry: bool = False
    only_new: bool = False
    only_present: bool = False
    returns_former: bool = False
    equal: bytes | None = None
    unequal: bytes | None = None

    @property
    def has_condition(self) -> bool:
        return self.only_new or self.only_present or self.equal is not None or self.unequal is not None


def set_options(args: Sequence[bytes], now_ms: int) -> SetOptions:
    """The options of SET.  Raises RedisError."""
    options, at = SetOptions(), 0
    while at < len(args):
        word = args[at].upper()
        at += 1
        if word == b"NX" and not options.has_condition:
            options.only_new = True
        elif word == b"XX" and not options.has_condition:
            options.only_present = True
        elif word in (b"IFEQ", b"IFNE") and at < len(args) and not options.has_condition:
            options.equal, options.unequal = (args[at], None) if word == b"IFEQ" else (None, args[at])
            at += 1
        elif word == b"GET":
            options.returns_former = True
        elif word == b"KEEPTTL" and not options.expires_at_ms:
            options.keeps_expiry = True
        elif word in _UNITS and at < len(args) and not options.expires_at_ms and not options.keeps_expiry:
            options.expires_at_ms = expiry_of(word, args[at], now_ms, "set")
            at += 1
        else:
            raise syntax_error()
    return options


def expiry_of(unit: bytes, text: bytes, now_ms: int, command: str) -> int:
    """The time, in milliseconds since 1970, that a positive number of EX, PX, EXAT or PXAT means.

    Raises RedisError.
    """
    number = one_integer(text)
    if number <= 0:
        raise _invalid(command)
    return at_of(unit, number, now_ms, command)


def at_of(unit: bytes, number: int, now_ms: int, command: str) -> int:
    """The time that a number means, in milliseconds; it may be past.  Raises RedisError beyond 64 bits."""
    factor, is_absolute = _UNITS[unit]
    at_ms = number * factor + (0 if is_absolute else now_ms)
    if not -_MOST_MS <= number * factor <= _MOST_MS or at_ms > _MOST_MS:
        raise _invalid(command)
    return at_ms


def _invalid(command: str) -> RedisError:
    return RedisError(f"ERR invalid expire time in '{command}' command")
