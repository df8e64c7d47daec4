"""Commands on the bits of a string; bit 0 is the highest of the first byte."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Final

from ringmill.client.gateway.redis.commands.arguments.counted_keys import read_one_by_one, store_value
from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import (
    TOO_LONG,
    index_range,
    one_integer,
)
from ringmill.client.gateway.redis.commands.command_spec import (
    KeyCall,
    one_key,
    syntax_error,
    waiting_command,
)
from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply
from ringmill.client.gateway.redis.store.typed_values import Entry
from ringmill.cluster.limits import MAX_VALUE_BYTES

if TYPE_CHECKING:
    from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection

__all__ = ["NO_OFFSET", "bit_offset", "bits_of_all"]

_OPERATIONS: Final[dict[bytes, Callable[[int, int], int]]] = {
    b"AND": operator.and_,
    b"OR": operator.or_,
    b"XOR": operator.xor,
}
MOST_OFFSET: Final = (1 << 32) - 1
"""The largest place of a bit that Redis takes; bits behind the longest string are 0 here."""
NO_OFFSET: Final = "ERR bit offset is not an integer or out of range"


def bit_offset(text: bytes) -> int:
    """The place of a bit that a string may have.  Raises RedisError."""
    offset = one_integer(text, NO_OFFSET, 0, MOST_OFFSET)
    if offset >= MAX_VALUE_BYTES * 8:
        raise RedisError(TOO_LONG)
    return offset


@one_key("GETBIT", 3, "readonly fast")
def _getbit(call: KeyCall) -> Reply:
    """One bit; those behind the end are 0."""
    offset = one_integer(call.args[0], NO_OFFSET, 0, MOST_OFFSET)
    value = call.entry.get_or_new(bytes)
    return value[offset // 8] >> (7 - offset % 8) & 1 if offset // 8 < len(value) else 0


@one_key("SETBIT", 4, "write denyoom")
def _setbit(call: KeyCall) -> Reply:
    """Set one bit, and return what it was."""
    offset = bit_offset(call.args[0])
    if call.args[1] not in (b"0", b"1"):
        raise RedisError("ERR bit is not an integer or out of range")
    value = bytearray(call.entry.get_or_new(bytes).ljust(offset // 8 + 1, b"\0"))
    mask = 0x80 >> offset % 8
    former = int(bool(value[offset // 8] & mask))
    value[offset // 8] = value[offset // 8] | mask if call.args[1] == b"1" else value[offset // 8] & ~mask
    call.entry.set(bytes(value))
    return former


@one_key("BITCOUNT", -2, "readonly")
def _bitcount(call: KeyCall) -> Reply:
    """How many bits are 1, of all or of a range."""
    if len(call.args) == 1 or len(call.args) > 3:
        raise syntax_error()
    start, end = _bit_range(call.args, call.entry.get_or_new(bytes))
    return _number(call.entry.get_or_new(bytes), start, end).bit_count()


@one_key("BITPOS", -3, "readonly")
def _bitpos(call: KeyCall) -> Reply:
    """Where the first bit is that is 1, or 0."""
    if one_integer(call.args[0]) not in (0, 1):
        raise RedisError("ERR The bit argument must be 1 or 0.")
    if len(call.args) > 4:
        raise syntax_error()
    value, bit = call.entry.get_or_new(bytes), int(call.args[0])
    if call.entry.value is None:
        return -bit
    start, end = _bit_range(call.args[1:], value)
    place = _first_bit(value, start, end, bit)
    if place < 0:  # behind a string whose end was not given, all bits are 0
        return len(value) * 8 if not bit and len(call.args) < 3 and start < end else -1
    return place


@waiting_command("BITOP", -4, "write denyoom", keys=(2, -1, 1))
async def _bitop(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Set a key to what the bits of others make, in a second step; short strings count as if they ended in
    zeros."""
    operation, keys = args[0].upper(), args[2:]
    if operation not in (*_OPERATIONS, b"NOT"):
        raise syntax_error()
    if operation == b"NOT" and len(keys) != 1:
        raise RedisError("ERR BITOP NOT must be called with a single source key.")
    async with read_one_by_one(connection, keys, _read_string) as values:
        return await store_value(connection, args[1], bits_of_all(operation, values))


def bits_of_all(operation: bytes, values: Sequence[bytes]) -> bytes:
    """What BITOP makes of strings.  The shorter ones come first, and the lowest byte is the first one: so no
    string is made longer, and all of them take no more time than they have bytes."""
    length = max(map(len, values))
    numbers = (int.from_bytes(value, "little") for value in sorted(values, key=len))
    if operation == b"NOT":
        result = (1 << 8 * length) - 1 - next(numbers)
    else:
        result = reduce(_OPERATIONS[operation], numbers)
    return result.to_bytes(length, "little")


def _read_string(entry: Entry, _now_ms: int) -> Reply:
    return entry.get_or_new(bytes)


def _bit_range(args: Sequence[bytes], value: bytes) -> tuple[int, int]:
    unit = args[2].upper() if len(args) == 3 else b"BYTE"
    if unit not in (b"BYTE", b"BIT"):
        raise syntax_error()
    first = one_integer(args[0]) if args else 0
    last = one_integer(args[1]) if len(args) > 1 else -1
    factor = 8 if unit == b"BYTE" else 1
    length = len(value) * 8 // factor
    if not (first < 0 and last < first):  # else nothing, as Redis has it
        last = max(last, -length)
    start, end = index_range(first, last, length)
    return start * factor, end * factor


def _first_bit(value: bytes, start: int, end: int, bit: int) -> int:
    """Where the first bit of a range is that is this one; -1: nowhere."""
    at, behind = start // 8, (end + 7) // 8
    if start >= end:
        return -1
    others = 0x00 if bit else 0xFF
    part = bytearray(value[at:behind])
    for place, outside in ((0, 0xFF00 >> start % 8 & 0xFF), (-1, 0xFF >> (end - 1) % 8 + 1)):
        part[place] = (part[place] & ~outside) | (others & outside)
    skipped = len(part) - len(part.lstrip(bytes([others])))
    if skipped == len(part):
        return -1
    return (at + skipped) * 8 + 8 - (part[skipped] ^ others).bit_length()


def _number(value: bytes, start: int, end: int) -> int:
    """The bits of a range as those of a number."""
    if start >= end:
        return 0
    last = (end + 7) // 8
    shifted = int.from_bytes(value[start // 8 : last]) >> (last * 8 - end)
    return shifted & ((1 << (end - start)) - 1)
