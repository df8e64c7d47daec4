"""Commands on ranges of a sorted set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ringmill.client.gateway.redis.commands.arguments.counted_keys import read_one_by_one, store_value
from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import one_integer
from ringmill.client.gateway.redis.commands.command_spec import KeyCall, one_key, waiting_command
from ringmill.client.gateway.redis.commands.sorted_sets.member_ranges import (
    Pair,
    RangeWanted,
    by_lex,
    by_rank,
    by_score,
    pairs_reply,
    range_wanted,
)
from ringmill.client.gateway.redis.protocol.replies import Reply
from ringmill.client.gateway.redis.store.typed_values import Entry, SortedSet

if TYPE_CHECKING:
    from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection

__all__: list[str] = []


def _range_reply(call: KeyCall, wanted: RangeWanted) -> Reply:
    pairs = wanted.pick(call.entry.get_or_new(SortedSet))
    return pairs_reply(pairs, wanted.with_scores, call.version)


@one_key("ZRANGE", -4, "readonly")
def _zrange(call: KeyCall) -> Reply:
    """The members in a range of ranks, scores or texts."""
    return _range_reply(call, range_wanted(call.args, may_say_all=True))


@one_key("ZREVRANGE", -4, "readonly")
def _zrevrange(call: KeyCall) -> Reply:
    """The members in a range of ranks, the highest score first."""
    return _range_reply(call, range_wanted(call.args, is_reversed=True))


@one_key("ZRANGEBYSCORE", -4, "readonly")
def _zrangebyscore(call: KeyCall) -> Reply:
    """The members in a range of scores."""
    return _range_reply(call, range_wanted(call.args, b"BYSCORE"))


@one_key("ZREVRANGEBYSCORE", -4, "readonly")
def _zrevrangebyscore(call: KeyCall) -> Reply:
    """The members in a range of scores, the highest first."""
    return _range_reply(call, range_wanted(call.args, b"BYSCORE", is_reversed=True))


@one_key("ZRANGEBYLEX", -4, "readonly")
def _zrangebylex(call: KeyCall) -> Reply:
    """The members in a range of texts, where all scores are equal."""
    return _range_reply(call, range_wanted(call.args, b"BYLEX"))


@one_key("ZREVRANGEBYLEX", -4, "readonly")
def _zrevrangebylex(call: KeyCall) -> Reply:
    """The members in a range of texts, the last one first, where all scores are equal."""
    return _range_reply(call, range_wanted(call.args, b"BYLEX", is_reversed=True))


@one_key("ZCOUNT", 4, "readonly fast")
def _zcount(call: KeyCall) -> Reply:
    """How many members are in a range of scores."""
    return len(_between(call, by_score))


@one_key("ZLEXCOUNT", 4, "readonly fast")
def _zlexcount(call: KeyCall) -> Reply:
    """How many members are in a range of texts."""
    return len(_between(call, by_lex))


@one_key("ZREMRANGEBYRANK", 4, "write")
def _zremrangebyrank(call: KeyCall) -> Reply:
    """Remove the members in a range of ranks."""
    start, stop = one_integer(call.args[0]), one_integer(call.args[1])
    return _without(call, by_rank(call.entry.get_or_new(SortedSet), start, stop))


@one_key("ZREMRANGEBYSCORE", 4, "write")
def _zremrangebyscore(call: KeyCall) -> Reply:
    """Remove the members in a range of scores."""
    return _without(call, _between(call, by_score))


@one_key("ZREMRANGEBYLEX", 4, "write")
def _zremrangebylex(call: KeyCall) -> Reply:
    """Remove the members in a range of texts."""
    return _without(call, _between(call, by_lex))


def _between(call: KeyCall, choose: Callable[[SortedSet, bytes, bytes], list[Pair]]) -> list[Pair]:
    least, most = call.args[0], call.args[1]
    choose(SortedSet(), least, most)  # bad bounds are told before the type of the value
    return choose(call.entry.get_or_new(SortedSet), least, most)


def _without(call: KeyCall, pairs: Sequence[Pair]) -> Reply:
    members = call.entry.get_or_new(SortedSet)
    for member, _ in pairs:
        del members[member]
    if pairs:
        call.entry.set(members)
    return len(pairs)


@waiting_command("ZRANGESTORE", -5, "write denyoom", keys=(1, 2, 1))
async def _zrangestore(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Set a key to what ZRANGE gives, in a second step."""
    wanted = range_wanted(args[2:], may_say_all=True)

    def read(entry: Entry, _now_ms: int) -> Reply:
        return pairs_reply(wanted.pick(entry.get_or_new(SortedSet)), True, 3)

    async with read_one_by_one(connection, [args[1]], read) as [pairs]:
        return await store_value(connection, args[0], SortedSet((member, score) for member, score in pairs))
