"""BITFIELD: whole numbers of up to 64 bits anywhere in a string."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import one_integer
from ringmill.client.gateway.redis.commands.bits import MOST_OFFSET, NO_OFFSET, bit_offset
from ringmill.client.gateway.redis.commands.command_spec import KeyCall, one_key, syntax_error
from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply

__all__: list[str] = []

_TYPE: Final = re.compile(rb"i([1-9]|[1-5][0-9]|6[0-4])|u([1-9]|[1-5][0-9]|6[0-3])")
_NO_TYPE: Final = (
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
)
MOST_WORDS: Final = 8192
"""Behind the key: each number is read and written by itself, which takes some microseconds."""
_OVERFLOWS: Final = (b"WRAP", b"SAT", b"FAIL")


@dataclass(frozen=True, slots=True)
class _Field:
    """Where a number is, in bits from the beginning, and how wide it is."""

    at: int
    bits: int
    is_signed: bool

    @property
    def last(self) -> int:
        """The place of the last bit."""
        return self.at + self.bits - 1

    @property
    def end(self) -> int:
        """The byte behind it."""
        return (self.at + self.bits + 7) // 8

    def read(self, value: bytes | bytearray) -> int:
        return self._of_bits(self._around(value) >> self._below())

    def write(self, value: bytearray, number: int) -> None:
        mask = (1 << self.bits) - 1
        around = self._around(value) & ~(mask << self._below()) | (number & mask) << self._below()
        value[self.at // 8 : self.end] = around.to_bytes(self.end - self.at // 8)

    def fitted(self, number: int, overflow: bytes) -> int | None:
        """The number as the field can have it; None when it may not."""
        least = -(1 << self.bits - 1) if self.is_signed else 0
        most = least + (1 << self.bits) - 1
        if least <= number <= most:
            return number
        if overflow == b"WRAP":
            return self._of_bits(number)
        return None if overflow == b"FAIL" else min(max(number, least), most)

    def _around(self, value: bytes | bytearray) -> int:
        part = bytes(value[self.at // 8 : self.end])
        return int.from_bytes(part.ljust(self.end - self.at // 8, b"\0"))

    def _below(self) -> int:
        return self.end * 8 - self.at - self.bits

    def _of_bits(self, number: int) -> int:
        number &= (1 << self.bits) - 1
        return number - (1 << self.bits) if self.is_signed and number >> self.bits - 1 else number


@dataclass(frozen=True, slots=True)
class _Step:
    """GET, SET or INCRBY of one field; `number` is what is set or added."""

    word: bytes
    field: _Field
    number: int
    overflow: bytes

    def take(self, value: bytearray) -> int | None:
        former = self.field.read(value)
        if self.word == b"GET":
            return former
        if self.word == b"INCRBY":
            wanted = former + self.number
        elif self.number < 0 and not self.field.is_signed:
            wanted = self.number + (1 << 64)  # as Redis reads it
        else:
            wanted = self.number
        new = self.field.fitted(wanted, self.overflow)
        if new is None:
            return None
        self.field.write(value, new)
        return former if self.word == b"SET" else new


@one_key("BITFIELD", -2, "write denyoom")
def _bitfield(call: KeyCall) -> Reply:
    """Read, set and add to numbers in a string."""
    return _taken(call, _steps(call.args))


@one_key("BITFIELD_RO", -2, "readonly fast")
def _bitfield_ro(call: KeyCall) -> Reply:
    """Read numbers in a string."""
    steps = _steps(call.args)
    if any(step.word != b"GET" for step in steps):
        raise RedisError("ERR BITFIELD_RO only supports the GET subcommand")
    return _taken(call, steps)


def _taken(call: KeyCall, steps: Sequence[_Step]) -> Reply:
    value = bytearray(call.entry.get_or_new(bytes))
    written = [step.field.end for step in steps if step.word != b"GET"]
    if written:
        value = value.ljust(max(written), b"\0")
    replies: list[Reply] = [step.take(value) for step in steps]
    if written:
        call.entry.set(bytes(value))
    return replies


def _steps(args: Sequence[bytes]) -> list[_Step]:
    if len(args) > MOST_WORDS:
        raise RedisError(f"ERR the command has {len(args)} words behind the key, the limit is {MOST_WORDS}")
    words, overflow, steps = deque(args), b"WRAP", list[_Step]()
    while words:
        word = words.popleft().upper()
        if word == b"OVERFLOW" and words:
            overflow = words.popleft().upper()
            if overflow not in _OVERFLOWS:
                raise RedisError("ERR Invalid OVERFLOW type specified")
        elif word == b"GET" and len(words) >= 2:
            steps.append(_Step(word, _field(words.popleft(), words.popleft()), 0, overflow))
        elif word in (b"SET", b"INCRBY") and len(words) >= 3:
            field = _field(words.popleft(), words.popleft())
            bit_offset(b"%d" % field.last)
            steps.append(_Step(word, field, one_integer(words.popleft()), overflow))
        else:
            raise syntax_error()
    return steps


def _field(kind: bytes, offset: bytes) -> _Field:
    """A field: a type such as i16 or u8, and a place in bits, or in fields behind "#".  Raises RedisError."""
    if not _TYPE.fullmatch(kind):
        raise RedisError(_NO_TYPE)
    bits = int(kind[1:])
    at = (
        one_integer(offset[1:], NO_OFFSET, 0) * bits
        if offset[:1] == b"#"
        else one_integer(offset, NO_OFFSET, 0)
    )
    field = _Field(at, bits, kind[:1] == b"i")
    if field.last > MOST_OFFSET:
        raise RedisError(NO_OFFSET)
    return field
