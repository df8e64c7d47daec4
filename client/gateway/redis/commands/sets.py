"""Commands on sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ringmill.client.gateway.redis.commands.arguments.counted_keys import (
    counted_keys_with_limit,
    read_one_by_one,
    store_value,
)
from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import count_of_pop, one_integer
from ringmill.client.gateway.redis.commands.arguments.pages_of_members import page_of_members
from ringmill.client.gateway.redis.commands.arguments.random_members import drawn_members
from ringmill.client.gateway.redis.commands.command_spec import (
    KeyCall,
    Parts,
    each_key,
    one_key,
    syntax_error,
    waiting_command,
)
from ringmill.client.gateway.redis.protocol.replies import Reply
from ringmill.client.gateway.redis.store.typed_values import Entry

if TYPE_CHECKING:
    from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection

__all__: list[str] = []


def _members(call: KeyCall) -> set[bytes]:
    return call.entry.get_or_new(set)


@one_key("SADD", -3, "write denyoom fast")
def _sadd(call: KeyCall) -> Reply:
    """Add members, and count the new ones."""
    members = _members(call)
    before = len(members)
    members.update(call.args)
    if len(members) > before:
        call.entry.set(members)
    return len(members) - before


@one_key("SREM", -3, "write fast")
def _srem(call: KeyCall) -> Reply:
    """Remove members, and count those that were there."""
    members = _members(call)
    before = len(members)
    members.difference_update(call.args)
    if len(members) < before:
        call.entry.set(members)
    return before - len(members)


@one_key("SMEMBERS", 2, "readonly")
def _smembers(call: KeyCall) -> Reply:
    """All members, as they are now: later commands of the same batch change the set itself."""
    return set(_members(call))


@one_key("SCARD", 2, "readonly fast")
def _scard(call: KeyCall) -> Reply:
    """How many members a set has."""
    return len(_members(call))


@one_key("SISMEMBER", 3, "readonly fast")
def _sismember(call: KeyCall) -> Reply:
    """Whether a set has a member."""
    return int(call.args[0] in _members(call))


@one_key("SMISMEMBER", -3, "readonly fast")
def _smismember(call: KeyCall) -> Reply:
    """Which of some members a set has."""
    members = _members(call)
    return [int(member in members) for member in call.args]


@one_key("SPOP", -2, "write fast")
def _spop(call: KeyCall) -> Reply:
    """Remove members that are drawn at random, and return them."""
    count = count_of_pop(call.args)
    members = _members(call)
    taken = drawn_members(list(members), 1 if count is None else count, call.entropy)
    if taken:
        members.difference_update(taken)
        call.entry.set(members)
    if count is None:
        return taken[0] if taken else None
    return set(taken)


@one_key("SRANDMEMBER", -2, "readonly")
def _srandmember(call: KeyCall) -> Reply:
    """Members that are drawn at random."""
    if len(call.args) > 1:
        raise syntax_error()
    members = list(_members(call))
    if call.args:
        return list(drawn_members(members, one_integer(call.args[0]), call.entropy))
    return drawn_members(members, 1, call.entropy)[0] if members else None


@one_key("SSCAN", -3, "readonly")
def _sscan(call: KeyCall) -> Reply:
    """Some members, and a cursor for the next ones."""
    cursor, page = page_of_members(call.args[0], call.args[1:], _members(call))
    return [cursor, list(page)]


def _read_set(entry: Entry, _now_ms: int) -> Reply:
    return set(entry.get_or_new(set))


# Two at a time would copy what is there so far for each of them.


def _intersected(sets: Sequence[set[bytes]]) -> set[bytes]:
    return sets[0].intersection(*sets[1:])


def _united(sets: Sequence[set[bytes]]) -> set[bytes]:
    return sets[0].union(*sets[1:])


def _differing(sets: Sequence[set[bytes]]) -> set[bytes]:
    return sets[0].difference(*sets[1:])


Combine = Callable[[Sequence[Any]], set[bytes]]


@each_key("SINTER", -2, "readonly")
def _sinter(args: Sequence[bytes], _version: int) -> Parts:
    """The members that all sets have, each set read by itself."""
    return Parts([(key, _read_set) for key in args], _intersected)


@each_key("SUNION", -2, "readonly")
def _sunion(args: Sequence[bytes], _version: int) -> Parts:
    """The members that any of the sets has, each set read by itself."""
    return Parts([(key, _read_set) for key in args], _united)


@each_key("SDIFF", -2, "readonly")
def _sdiff(args: Sequence[bytes], _version: int) -> Parts:
    """The members of the first set that no other has, each set read by itself."""
    return Parts([(key, _read_set) for key in args], _differing)


@each_key("SINTERCARD", -3, "readonly", first=0, last=0, step=0)
def _sintercard(args: Sequence[bytes], _version: int) -> Parts:
    """How many members all sets have, each set read by itself."""
    keys, limit = counted_keys_with_limit(args)

    def count(sets: Sequence[Any]) -> Reply:
        found = len(_intersected(sets))
        return min(found, limit) if limit else found

    return Parts([(key, _read_set) for key in keys], count)


async def _store(connection: RedisConnection, args: Sequence[bytes], combine: Combine) -> Reply:
    async with read_one_by_one(connection, args[1:], _read_set) as sets:
        return await store_value(connection, args[0], combine(sets))


@waiting_command("SINTERSTORE", -3, "write denyoom", keys=(1, -1, 1))
async def _sinterstore(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Set a key to what SINTER gives, in a second step."""
    return await _store(connection, args, _intersected)


@waiting_command("SUNIONSTORE", -3, "write denyoom", keys=(1, -1, 1))
async def _sunionstore(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Set a key to what SUNION gives, in a second step."""
    return await _store(connection, args, _united)


@waiting_command("SDIFFSTORE", -3, "write denyoom", keys=(1, -1, 1))
async def _sdiffstore(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Set a key to what SDIFF gives, in a second step."""
    return await _store(connection, args, _differing)
