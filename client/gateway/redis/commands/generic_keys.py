"""Commands on keys of any type: removal, expiry, type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ringmill.client.gateway.redis.commands.arguments.expiry_options import at_of
from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import one_integer
from ringmill.client.gateway.redis.commands.command_spec import (
    KeyCall,
    Parts,
    each_key,
    one_key,
)
from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply
from ringmill.client.gateway.redis.store.typed_values import Entry, RedisValue, type_name

__all__: list[str] = []

MOST_IN_LISTPACK: Final = 128
"""Up to this number of members OBJECT ENCODING tells that they are in a listpack."""
_CONDITIONS: Final = {b"NX", b"XX", b"GT", b"LT"}


def _remove(entry: Entry, _now_ms: int) -> Reply:
    if entry.value is None:
        return 0
    entry.replace(None)
    return 1


def _present(entry: Entry, _now_ms: int) -> Reply:
    return int(entry.value is not None)


@each_key("DEL", -2, "write")
def _del(args: Sequence[bytes], _version: int) -> Parts:
    """Remove keys, each by itself, and count those that had a value."""
    return Parts([(key, _remove) for key in args], sum)


@each_key("UNLINK", -2, "write fast")
def _unlink(args: Sequence[bytes], _version: int) -> Parts:
    """Remove keys as DEL does, and not in the background."""
    return Parts([(key, _remove) for key in args], sum)


@each_key("EXISTS", -2, "readonly fast")
def _exists(args: Sequence[bytes], _version: int) -> Parts:
    """How many of the keys have a value, each read by itself."""
    return Parts([(key, _present) for key in args], sum)


@each_key("TOUCH", -2, "readonly fast")
def _touch(args: Sequence[bytes], _version: int) -> Parts:
    """How many of the keys exist: nothing is evicted, so a use leaves no trace."""
    return Parts([(key, _present) for key in args], sum)


@one_key("TYPE", 2, "readonly fast")
def _type(call: KeyCall) -> Reply:
    """The type of what a key holds."""
    return type_name(call.entry.value)


@one_key("OBJECT|ENCODING", 3, "readonly", key_at=2)
def _object_encoding(call: KeyCall) -> Reply:
    """The name of an encoding by which Redis might keep the value."""
    call.entry.check_own()
    if call.entry.value is None:
        return None
    return _encoding(call.entry.value)


@one_key("OBJECT|REFCOUNT", 3, "readonly", key_at=2)
def _object_refcount(call: KeyCall) -> Reply:
    """1 for a key that has a value."""
    call.entry.check_own()
    return None if call.entry.value is None else 1


@one_key("OBJECT|IDLETIME", 3, "readonly", key_at=2)
def _object_idletime(call: KeyCall) -> Reply:
    """0 for a key that has a value: uses leave no trace."""
    call.entry.check_own()
    return None if call.entry.value is None else 0


def _encoding(value: RedisValue) -> bytes:
    if isinstance(value, bytes):
        try:
            one_integer(value)
        except RedisError:
            return b"embstr" if len(value) <= 44 else b"raw"
        return b"int"
    is_small = len(value) <= MOST_IN_LISTPACK
    if isinstance(value, dict):
        large = b"hashtable" if type(value) is dict else b"skiplist"
        return b"listpack" if is_small else large
    if isinstance(value, list):
        return b"listpack" if is_small else b"quicklist"
    return b"listpack" if is_small else b"hashtable"


@one_key("EXPIRE", -3, "write fast")
def _expire(call: KeyCall) -> Reply:
    """Let a key expire after some seconds."""
    return _expire_at(call, b"EX", "expire")


@one_key("PEXPIRE", -3, "write fast")
def _pexpire(call: KeyCall) -> Reply:
    """Let a key expire after some milliseconds."""
    return _expire_at(call, b"PX", "pexpire")


@one_key("EXPIREAT", -3, "write fast")
def _expireat(call: KeyCall) -> Reply:
    """Let a key expire at a time in seconds since 1970."""
    return _expire_at(call, b"EXAT", "expireat")


@one_key("PEXPIREAT", -3, "write fast")
def _pexpireat(call: KeyCall) -> Reply:
    """Let a key expire at a time in milliseconds since 1970."""
    return _expire_at(call, b"PXAT", "pexpireat")


def _expire_at(call: KeyCall, unit: bytes, command: str) -> Reply:
    entry, conditions = call.entry, {word.upper() for word in call.args[1:]}
    if strange := [word for word in call.args[1:] if word.upper() not in _CONDITIONS]:
        raise RedisError(f"ERR Unsupported option {strange[0].decode('utf-8', 'replace')}")
    if b"NX" in conditions and len(conditions) > 1:
        raise RedisError("ERR NX and XX, GT or LT options at the same time are not compatible")
    if {b"GT", b"LT"} <= conditions:
        raise RedisError("ERR GT and LT options at the same time are not compatible")
    at_ms = at_of(unit, one_integer(call.args[0]), call.now_ms, command)
    if entry.value is None or not _may_expire(conditions, entry.expires_at_ms, at_ms):
        return 0
    if at_ms <= call.now_ms:
        entry.set(None)
    else:
        entry.expire(at_ms)
    return 1


def _may_expire(conditions: set[bytes], former_ms: int, at_ms: int) -> bool:
    """A key that does not expire counts as one that expires after any other."""
    if b"NX" in conditions and former_ms:
        return False
    if b"XX" in conditions and not former_ms:
        return False
    if b"GT" in conditions and (not former_ms or at_ms <= former_ms):
        return False
    return not (b"LT" in conditions and former_ms and at_ms >= former_ms)


@one_key("PERSIST", 2, "write fast")
def _persist(call: KeyCall) -> Reply:
    """Let a key expire no more."""
    if call.entry.value is None or not call.entry.expires_at_ms:
        return 0
    call.entry.expire(0)
    return 1


@one_key("TTL", 2, "readonly fast")
def _ttl(call: KeyCall) -> Reply:
    """Seconds until a key expires; -1: never, -2: it has no value."""
    left_ms = _left_ms(call)
    return left_ms if left_ms < 0 else (left_ms + 500) // 1000


@one_key("PTTL", 2, "readonly fast")
def _pttl(call: KeyCall) -> Reply:
    """Milliseconds until a key expires; -1: never, -2: it has no value."""
    return _left_ms(call)


@one_key("EXPIRETIME", 2, "readonly fast")
def _expiretime(call: KeyCall) -> Reply:
    """When a key expires, in seconds since 1970; -1: never, -2: it has no value."""
    at_ms = _end_ms(call.entry)
    return at_ms if at_ms < 0 else (at_ms + 500) // 1000


@one_key("PEXPIRETIME", 2, "readonly fast")
def _pexpiretime(call: KeyCall) -> Reply:
    """When a key expires, in milliseconds since 1970; -1: never, -2: it has no value."""
    return _end_ms(call.entry)


def _left_ms(call: KeyCall) -> int:
    at_ms = _end_ms(call.entry)
    return at_ms if at_ms < 0 else at_ms - call.now_ms


def _end_ms(entry: Entry) -> int:
    if entry.value is None:
        return -2
    return entry.expires_at_ms or -1
