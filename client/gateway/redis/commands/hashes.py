"""Commands on hashes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import (
    one_float,
    one_integer,
    score_text,
)
from ringmill.client.gateway.redis.commands.arguments.pages_of_members import page_of_members
from ringmill.client.gateway.redis.commands.arguments.random_members import drawn_members
from ringmill.client.gateway.redis.commands.command_spec import KeyCall, one_key, syntax_error
from ringmill.client.gateway.redis.protocol.replies import OK, RedisError, Reply

__all__: list[str] = []


def _fields_of(call: KeyCall) -> dict[bytes, bytes]:
    return call.entry.get_or_new(dict)


def _put(call: KeyCall, command: str) -> int:
    if len(call.args) % 2:
        raise RedisError(f"ERR wrong number of arguments for '{command}' command")
    fields = _fields_of(call)
    before = len(fields)
    fields.update(zip(call.args[::2], call.args[1::2], strict=True))
    call.entry.set(fields)
    return len(fields) - before


@one_key("HSET", -4, "write denyoom fast")
def _hset(call: KeyCall) -> Reply:
    """Set fields of a hash, and count the new ones."""
    return _put(call, "hset")


@one_key("HMSET", -4, "write denyoom fast")
def _hmset(call: KeyCall) -> Reply:
    """Set fields of a hash; an older name of HSET."""
    _put(call, "hmset")
    return OK


@one_key("HSETNX", 4, "write denyoom fast")
def _hsetnx(call: KeyCall) -> Reply:
    """Set a field that the hash does not have."""
    fields = _fields_of(call)
    if call.args[0] in fields:
        return 0
    fields[call.args[0]] = call.args[1]
    call.entry.set(fields)
    return 1


@one_key("HGET", 3, "readonly fast")
def _hget(call: KeyCall) -> Reply:
    """The value of a field."""
    return _fields_of(call).get(call.args[0])


@one_key("HMGET", -3, "readonly fast")
def _hmget(call: KeyCall) -> Reply:
    """The values of some fields."""
    fields = _fields_of(call)
    return [fields.get(field) for field in call.args]


@one_key("HGETALL", 2, "readonly")
def _hgetall(call: KeyCall) -> Reply:
    """All fields with their values."""
    return dict(_fields_of(call).items())


@one_key("HKEYS", 2, "readonly")
def _hkeys(call: KeyCall) -> Reply:
    """The names of all fields."""
    return list(_fields_of(call))


@one_key("HVALS", 2, "readonly")
def _hvals(call: KeyCall) -> Reply:
    """The values of all fields."""
    return list(_fields_of(call).values())


@one_key("HLEN", 2, "readonly fast")
def _hlen(call: KeyCall) -> Reply:
    """How many fields a hash has."""
    return len(_fields_of(call))


@one_key("HSTRLEN", 3, "readonly fast")
def _hstrlen(call: KeyCall) -> Reply:
    """The length of a field's value."""
    return len(_fields_of(call).get(call.args[0], b""))


@one_key("HEXISTS", 3, "readonly fast")
def _hexists(call: KeyCall) -> Reply:
    """Whether a hash has a field."""
    return int(call.args[0] in _fields_of(call))


@one_key("HDEL", -3, "write fast")
def _hdel(call: KeyCall) -> Reply:
    """Remove fields, and count those that were there."""
    fields = _fields_of(call)
    removed = sum(fields.pop(field, None) is not None for field in call.args)
    if removed:
        call.entry.set(fields)
    return removed


@one_key("HGETDEL", -5, "write fast")
def _hgetdel(call: KeyCall) -> Reply:
    """Remove fields, and return what they held."""
    if call.args[0].upper() != b"FIELDS":
        raise RedisError("ERR mandatory keyword FIELDS is missing or not at the right position")
    count = one_integer(call.args[1], "ERR Number of fields must be a positive integer", 1)
    if count != len(call.args) - 2:
        raise RedisError("ERR The `numfields` parameter must match the number of arguments")
    fields = _fields_of(call)
    taken: list[Reply] = [fields.pop(field, None) for field in call.args[2:]]
    if any(value is not None for value in taken):
        call.entry.set(fields)
    return taken


@one_key("HINCRBY", 4, "write denyoom fast")
def _hincrby(call: KeyCall) -> Reply:
    """Add to the number in a field."""
    by = one_integer(call.args[1])
    fields = _fields_of(call)
    number = one_integer(fields.get(call.args[0], b"0"), "ERR hash value is not an integer") + by
    if not -(1 << 63) <= number < 1 << 63:
        raise RedisError("ERR increment or decrement would overflow")
    fields[call.args[0]] = b"%d" % number
    call.entry.set(fields)
    return number


@one_key("HINCRBYFLOAT", 4, "write denyoom fast")
def _hincrbyfloat(call: KeyCall) -> Reply:
    """Add to the number with a fraction in a field."""
    by = one_float(call.args[1])
    if math.isinf(by):
        raise RedisError("ERR value is NaN or Infinity")
    fields = _fields_of(call)
    number = one_float(fields.get(call.args[0], b"0"), "ERR hash value is not a float") + by
    if math.isinf(number) or math.isnan(number):
        raise RedisError("ERR increment would produce NaN or Infinity")
    text = fields[call.args[0]] = score_text(number)
    call.entry.set(fields)
    return text


@one_key("HRANDFIELD", -2, "readonly")
def _hrandfield(call: KeyCall) -> Reply:
    """Some fields, drawn at random."""
    fields = _fields_of(call)
    if not call.args:
        return drawn_members(list(fields), 1, call.entropy)[0] if fields else None
    count = one_integer(call.args[0], least=-(1 << 62), most=1 << 62)
    if len(call.args) > 2 or (len(call.args) == 2 and call.args[1].upper() != b"WITHVALUES"):
        raise syntax_error()
    names = drawn_members(list(fields), count, call.entropy)
    if len(call.args) == 1:
        return list(names)
    if call.version == 3:
        return [[name, fields[name]] for name in names]
    return [text for name in names for text in (name, fields[name])]


@one_key("HSCAN", -3, "readonly")
def _hscan(call: KeyCall) -> Reply:
    """Some fields with their values, and a cursor for the next ones."""
    options: Sequence[bytes] = call.args[1:]
    names_only = bool(options) and options[-1].upper() == b"NOVALUES"
    if names_only:
        options = options[:-1]
    fields = _fields_of(call)
    cursor, names = page_of_members(call.args[0], options, fields)
    if names_only:
        return [cursor, list(names)]
    return [cursor, [text for name in names for text in (name, fields[name])]]
