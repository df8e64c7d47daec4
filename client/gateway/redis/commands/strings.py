"""Commands on strings, counters among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from ringmill.client.gateway.redis.commands.arguments.expiry_options import SetOptions, expiry_of, set_options
from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import (
    TOO_LONG,
    index_range,
    one_float,
    one_integer,
    score_text,
)
from ringmill.client.gateway.redis.commands.command_spec import (
    KeyCall,
    Parts,
    each_key,
    one_key,
    syntax_error,
)
from ringmill.client.gateway.redis.protocol.replies import OK, RedisError, Reply
from ringmill.client.gateway.redis.store.key_queues import Change
from ringmill.client.gateway.redis.store.typed_values import Entry
from ringmill.cluster.limits import MAX_VALUE_BYTES

__all__: list[str] = []

_MOST: Final = (1 << 63) - 1


@one_key("GET", 2, "readonly fast")
def _get(call: KeyCall) -> Reply:
    """The string of a key."""
    return call.entry.get(bytes)


@one_key("SET", -3, "write denyoom")
def _set(call: KeyCall) -> Reply:
    """Set a key to a string, under a condition and with an expiry if wanted."""
    entry, options = call.entry, set_options(call.args[1:], call.now_ms)
    compares = options.equal is not None or options.unequal is not None
    former = entry.get(bytes) if options.returns_former or compares else None
    if not _may_set(options, entry.value):
        return former if options.returns_former else None
    entry.replace(call.args[0])
    if not options.keeps_expiry:
        entry.expire(options.expires_at_ms)
    _end_if_past(entry, call.now_ms)
    return former if options.returns_former else OK


def _may_set(options: SetOptions, present: object) -> bool:
    if options.only_new or options.only_present:
        return (present is None) == options.only_new
    if options.equal is not None:
        return present == options.equal
    return options.unequal is None or present != options.unequal


@one_key("DELEX", -2, "write fast")
def _delex(call: KeyCall) -> Reply:
    """Remove a key, if wanted only while it holds a string, or does not."""
    if not call.args:
        is_wanted = call.entry.value is not None
    elif len(call.args) == 2 and call.args[0].upper() in (b"IFEQ", b"IFNE"):
        present = call.entry.get(bytes)
        is_equal = present == call.args[1]
        is_wanted = present is not None and is_equal == (call.args[0].upper() == b"IFEQ")
    else:
        raise syntax_error()
    if is_wanted:
        call.entry.set(None)
    return int(is_wanted)


@one_key("SETNX", 3, "write denyoom fast")
def _setnx(call: KeyCall) -> Reply:
    """Set a key that has no value."""
    if call.entry.value is not None:
        return 0
    call.entry.set(call.args[0])
    return 1


@one_key("SETEX", 4, "write denyoom")
def _setex(call: KeyCall) -> Reply:
    """Set a key, which expires after some seconds."""
    return _set_for(call, b"EX", "setex")


@one_key("PSETEX", 4, "write denyoom")
def _psetex(call: KeyCall) -> Reply:
    """Set a key, which expires after some milliseconds."""
    return _set_for(call, b"PX", "psetex")


def _set_for(call: KeyCall, unit: bytes, name: str) -> Reply:
    at_ms = expiry_of(unit, call.args[0], call.now_ms, name)
    call.entry.set(call.args[1])
    call.entry.expire(at_ms)
    return OK


@one_key("GETSET", 3, "write denyoom fast")
def _getset(call: KeyCall) -> Reply:
    """Set a key and return what it held."""
    former = call.entry.get(bytes)
    call.entry.set(call.args[0])
    call.entry.expire(0)
    return former


@one_key("GETDEL", 2, "write fast")
def _getdel(call: KeyCall) -> Reply:
    """Remove a key and return what it held."""
    former = call.entry.get(bytes)
    if former is not None:
        call.entry.set(None)
    return former


@one_key("GETEX", -2, "write fast")
def _getex(call: KeyCall) -> Reply:
    """The string of a key, whose expiry is changed."""
    args = call.args
    persists = len(args) == 1 and args[0].upper() == b"PERSIST"
    expires = len(args) == 2 and args[0].upper() in (b"EX", b"PX", b"EXAT", b"PXAT")
    if args and not persists and not expires:
        raise syntax_error()
    value = call.entry.get(bytes)
    if value is None:
        return None
    at_ms = 0 if persists else None
    if expires:
        at_ms = expiry_of(args[0].upper(), args[1], call.now_ms, "getex")
    if at_ms is not None and (at_ms or call.entry.expires_at_ms):
        call.entry.expire(at_ms)
        _end_if_past(call.entry, call.now_ms)
    return value


@one_key("APPEND", 3, "write denyoom fast")
def _append(call: KeyCall) -> Reply:
    """Append to a string, and return its length."""
    value = call.entry.get_or_new(bytes) + call.args[0]
    if len(value) > MAX_VALUE_BYTES:
        raise RedisError(TOO_LONG)
    if call.args[0] or call.entry.value is None:
        call.entry.set(value)
    return len(value)


@one_key("STRLEN", 2, "readonly fast")
def _strlen(call: KeyCall) -> Reply:
    """The length of a string."""
    return len(call.entry.get_or_new(bytes))


def _range_of_string(call: KeyCall) -> Reply:
    start, stop = one_integer(call.args[0]), one_integer(call.args[1])
    value = call.entry.get_or_new(bytes)
    if start < 0 and stop < 0 and start > stop:
        return b""
    first, end = index_range(start, max(stop, -len(value)), len(value))
    return value[first:end]


@one_key("GETRANGE", 4, "readonly")
def _getrange(call: KeyCall) -> Reply:
    """A part of a string."""
    return _range_of_string(call)


@one_key("SUBSTR", 4, "readonly")
def _substr(call: KeyCall) -> Reply:
    """A part of a string; an older name of GETRANGE."""
    return _range_of_string(call)


@one_key("SETRANGE", 4, "write denyoom")
def _setrange(call: KeyCall) -> Reply:
    """Overwrite a part of a string, which grows with zero bytes as far as that needs."""
    offset, part = one_integer(call.args[0]), call.args[1]
    if offset < 0:
        raise RedisError("ERR offset is out of range")
    value = call.entry.get_or_new(bytes)
    if not part:
        return len(value)
    if offset + len(part) > MAX_VALUE_BYTES:
        raise RedisError(TOO_LONG)
    call.entry.set(value[:offset].ljust(offset, b"\0") + part + value[offset + len(part) :])
    return max(len(value), offset + len(part))


@one_key("INCR", 2, "write denyoom fast")
def _incr(call: KeyCall) -> Reply:
    """Add one to a number."""
    return _add(call, 1)


@one_key("DECR", 2, "write denyoom fast")
def _decr(call: KeyCall) -> Reply:
    """Take one from a number."""
    return _add(call, -1)


@one_key("INCRBY", 3, "write denyoom fast")
def _incrby(call: KeyCall) -> Reply:
    """Add to a number."""
    return _add(call, one_integer(call.args[0]))


@one_key("DECRBY", 3, "write denyoom fast")
def _decrby(call: KeyCall) -> Reply:
    """Take from a number."""
    by = one_integer(call.args[0])
    if by == -_MOST - 1:
        raise RedisError("ERR decrement would overflow")
    return _add(call, -by)


def _add(call: KeyCall, by: int) -> Reply:
    value = call.entry.get(bytes)
    number = (0 if value is None else one_integer(value)) + by
    if not -_MOST - 1 <= number <= _MOST:
        raise RedisError("ERR increment or decrement would overflow")
    call.entry.set(b"%d" % number)
    return number


@one_key("INCRBYFLOAT", 3, "write denyoom fast")
def _incrbyfloat(call: KeyCall) -> Reply:
    """Add to a number with a fraction; it is counted in 64 bits."""
    value = call.entry.get(bytes)
    by = one_float(call.args[0])
    number = (0.0 if value is None else one_float(value)) + by
    if math.isinf(number) or math.isnan(number):
        raise RedisError("ERR increment would produce NaN or Infinity")
    text = score_text(number)
    call.entry.set(text)
    return text


@each_key("MGET", -2, "readonly fast")
def _mget(args: Sequence[bytes], _version: int) -> Parts:
    """The strings of several keys, each read by itself."""

    def read(entry: Entry, _now_ms: int) -> Reply:
        return entry.value if type(entry.value) is bytes else None

    return Parts([(key, read) for key in args], list)


@each_key("MSET", -3, "write denyoom", step=2)
def _mset(args: Sequence[bytes], _version: int) -> Parts:
    """Set several keys, each by itself: others may see some of them set."""
    if len(args) % 2:
        raise RedisError("ERR wrong number of arguments for 'mset' command")

    def set_to(value: bytes) -> Change:
        def change(entry: Entry, _now_ms: int) -> Reply:
            entry.set(value)
            entry.expire(0)
            return OK

        return change

    pairs = zip(args[::2], args[1::2], strict=True)
    return Parts([(key, set_to(value)) for key, value in pairs], lambda _: OK)


def _end_if_past(entry: Entry, now_ms: int) -> None:
    if entry.expires_at_ms and entry.expires_at_ms <= now_ms:
        entry.set(None)
