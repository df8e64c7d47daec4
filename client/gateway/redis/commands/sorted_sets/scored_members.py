"""Commands on the members of a sorted set and their scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import (
    count_of_pop,
    one_float,
    one_integer,
)
from ringmill.client.gateway.redis.commands.arguments.pages_of_members import page_of_members
from ringmill.client.gateway.redis.commands.arguments.random_members import drawn_members
from ringmill.client.gateway.redis.commands.command_spec import KeyCall, one_key, syntax_error
from ringmill.client.gateway.redis.commands.sorted_sets.member_ranges import pairs_reply
from ringmill.client.gateway.redis.protocol.replies import NullArray, RedisError, Reply, double_text
from ringmill.client.gateway.redis.store.typed_values import SortedSet

__all__: list[str] = []

NOT_A_NUMBER: Final = "ERR resulting score is not a number (NaN)"
_OPTIONS: Final = (b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR")


def _scores(call: KeyCall) -> SortedSet:
    return call.entry.get_or_new(SortedSet)


@dataclass(slots=True)
class _Adding:
    """How ZADD changes scores, and what came of it."""

    options: set[bytes]
    added: int = 0
    changed: int = 0
    last: float | None = None
    new: dict[bytes, float] = field(default_factory=dict)

    def take(self, former: float | None, member: bytes, score: float) -> None:
        options = self.options
        if former is not None and b"INCR" in options:
            score += former
            if math.isnan(score):
                raise RedisError(NOT_A_NUMBER)
        self.last = None
        if former is None:
            if b"XX" in options:
                return
            self.added += 1
        else:
            is_kept = (b"GT" in options and score <= former) or (b"LT" in options and score >= former)
            if b"NX" in options or is_kept:
                return
            self.changed += score != former
        self.last = self.new[member] = score


@one_key("ZADD", -4, "write denyoom fast")
def _zadd(call: KeyCall) -> Reply:
    """Add members with their scores, or change those that are there, and count the new ones."""
    options, rest = _zadd_options(call.args)
    if not rest or len(rest) % 2:
        raise syntax_error()
    _check_zadd(options, len(rest))
    scores = [one_float(text) + 0.0 for text in rest[::2]]  # -0 is kept as 0
    members = _scores(call)
    adding = _Adding(options)
    for member, score in zip(rest[1::2], scores, strict=True):
        adding.take(adding.new.get(member, members.get(member)), member, score)
    if adding.added or adding.changed:
        members.update(adding.new)
        call.entry.set(members)
    if b"INCR" in options:
        return adding.last
    return adding.added + (adding.changed if b"CH" in options else 0)


def _zadd_options(args: Sequence[bytes]) -> tuple[set[bytes], Sequence[bytes]]:
    at = 0
    while at < len(args) and args[at].upper() in _OPTIONS:
        at += 1
    return {word.upper() for word in args[:at]}, args[at:]


def _check_zadd(options: set[bytes], count: int) -> None:
    if {b"NX", b"XX"} <= options:
        raise RedisError("ERR XX and NX options at the same time are not compatible")
    if len(options & {b"GT", b"LT", b"NX"}) > 1:
        raise RedisError("ERR GT, LT, and/or NX options at the same time are not compatible")
    if b"INCR" in options and count > 2:
        raise RedisError("ERR INCR option supports a single increment-element pair")


@one_key("ZINCRBY", 4, "write denyoom fast")
def _zincrby(call: KeyCall) -> Reply:
    """Add to the score of a member."""
    by, member = one_float(call.args[0]), call.args[1]
    members = _scores(call)
    score = members.get(member, 0.0) + by
    if math.isnan(score):
        raise RedisError(NOT_A_NUMBER)
    members[member] = score
    call.entry.set(members)
    return score


@one_key("ZREM", -3, "write fast")
def _zrem(call: KeyCall) -> Reply:
    """Remove members, and count those that were there."""
    members = _scores(call)
    removed = sum(members.pop(member, None) is not None for member in call.args)
    if removed:
        call.entry.set(members)
    return removed


@one_key("ZCARD", 2, "readonly fast")
def _zcard(call: KeyCall) -> Reply:
    """How many members a sorted set has."""
    return len(_scores(call))


@one_key("ZSCORE", 3, "readonly fast")
def _zscore(call: KeyCall) -> Reply:
    """The score of a member."""
    return _scores(call).get(call.args[0])


@one_key("ZMSCORE", -3, "readonly fast")
def _zmscore(call: KeyCall) -> Reply:
    """The scores of some members."""
    members = _scores(call)
    return [members.get(member) for member in call.args]


def _rank(call: KeyCall, *, is_reversed: bool) -> Reply:
    with_score = len(call.args) == 2 and call.args[1].upper() == b"WITHSCORE"
    if len(call.args) > 1 and not with_score:
        raise syntax_error()
    members, member = _scores(call), call.args[0]
    if member not in members:
        return NullArray() if with_score else None
    score = members[member]
    lower = sum(one < score or (one == score and name < member) for name, one in members.items())
    rank = len(members) - 1 - lower if is_reversed else lower
    return [rank, score] if with_score else rank


@one_key("ZRANK", -3, "readonly fast")
def _zrank(call: KeyCall) -> Reply:
    """How many members have a lower score."""
    return _rank(call, is_reversed=False)


@one_key("ZREVRANK", -3, "readonly fast")
def _zrevrank(call: KeyCall) -> Reply:
    """How many members have a higher score."""
    return _rank(call, is_reversed=True)


def _popped_pairs(call: KeyCall, *, is_highest: bool) -> Reply:
    count = count_of_pop(call.args)
    members = _scores(call)
    pairs = members.in_order()
    if is_highest:
        pairs.reverse()
    taken = pairs[: 1 if count is None else count]
    for member, _ in taken:
        del members[member]
    if taken:
        call.entry.set(members)
    if count is None:
        return [one for pair in taken for one in pair]
    return pairs_reply(taken, True, call.version)


@one_key("ZPOPMIN", -2, "write fast")
def _zpopmin(call: KeyCall) -> Reply:
    """Remove the members with the lowest scores, and return them."""
    return _popped_pairs(call, is_highest=False)


@one_key("ZPOPMAX", -2, "write fast")
def _zpopmax(call: KeyCall) -> Reply:
    """Remove the members with the highest scores, and return them."""
    return _popped_pairs(call, is_highest=True)


@one_key("ZRANDMEMBER", -2, "readonly")
def _zrandmember(call: KeyCall) -> Reply:
    """Members that are drawn at random."""
    members = _scores(call)
    if not call.args:
        return drawn_members(list(members), 1, call.entropy)[0] if members else None
    count = one_integer(call.args[0], least=-(1 << 62), most=1 << 62)
    if len(call.args) > 2 or (len(call.args) == 2 and call.args[1].upper() != b"WITHSCORES"):
        raise syntax_error()
    names = drawn_members(list(members), count, call.entropy)
    return pairs_reply([(name, members[name]) for name in names], len(call.args) == 2, call.version)


@one_key("ZSCAN", -3, "readonly")
def _zscan(call: KeyCall) -> Reply:
    """Some members with their scores, and a cursor for the next ones."""
    members = _scores(call)
    cursor, names = page_of_members(call.args[0], call.args[1:], members)
    return [cursor, [text for name in names for text in (name, double_text(members[name]))]]
