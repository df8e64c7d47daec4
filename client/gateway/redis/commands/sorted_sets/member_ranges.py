"""Ranges of a sorted set: by rank, by score, by the members' bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import (
    index_range,
    one_float,
    one_integer,
)
from ringmill.client.gateway.redis.commands.command_spec import syntax_error
from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply
from ringmill.client.gateway.redis.store.typed_values import SortedSet

__all__ = ["Pair", "RangeWanted", "by_lex", "by_rank", "by_score", "range_wanted", "pairs_reply"]

NO_FLOAT: Final = "ERR min or max is not a float"
NO_LEX: Final = "ERR min or max not valid string range item"

Pair: TypeAlias = tuple[bytes, float]


@dataclass(frozen=True, slots=True)
class RangeWanted:
    """What the arguments of a range command ask for."""

    pick: Callable[[SortedSet], list[Pair]]
    with_scores: bool


def by_rank(members: SortedSet, start: int, stop: int, *, is_reversed: bool = False) -> list[Pair]:
    pairs = members.in_order()
    if is_reversed:
        pairs.reverse()
    first, end = index_range(start, stop, len(pairs))
    return pairs[first:end]


def by_score(members: SortedSet, least: bytes, most: bytes) -> list[Pair]:
    """The members in order of score; a bound that begins with "(" is not in the range.  Raises RedisError."""
    low, low_is_out = _score_bound(least)
    high, high_is_out = _score_bound(most)
    return [
        pair
        for pair in members.in_order()
        if (pair[1] > low if low_is_out else pair[1] >= low)
        and (pair[1] < high if high_is_out else pair[1] <= high)
    ]


def by_lex(members: SortedSet, least: bytes, most: bytes) -> list[Pair]:
    """The members in order of bytes; bounds are "-", "+", "[text" or "(text".  Raises RedisError."""
    _check_lex(least)
    _check_lex(most)
    return [pair for pair in members.in_order() if _is_above(pair[0], least) and _is_below(pair[0], most)]


def range_wanted(
    args: Sequence[bytes], kind: bytes = b"", *, is_reversed: bool = False, may_say_all: bool = False
) -> RangeWanted:
    """The range that start, stop and options ask for.  `kind` is b"", b"BYSCORE" or b"BYLEX"; with
    `may_say_all` the options choose it.  Raises RedisError."""
    start, stop, options = args[0], args[1], deque(args[2:])
    with_scores, limit = False, None
    while options:
        word = options.popleft().upper()
        if word == b"WITHSCORES":
            with_scores = True
        elif word == b"LIMIT" and len(options) >= 2:
            limit = one_integer(options.popleft()), one_integer(options.popleft())
        elif may_say_all and word in (b"BYSCORE", b"BYLEX"):
            kind = word
        elif may_say_all and word == b"REV":
            is_reversed = True
        else:
            raise syntax_error()
    if limit is not None and not kind:
        raise RedisError(
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
        )
    if with_scores and kind == b"BYLEX":
        raise RedisError("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
    if not kind:
        first, last = one_integer(start), one_integer(stop)
        return RangeWanted(
            lambda members: by_rank(members, first, last, is_reversed=is_reversed), with_scores
        )
    choose = by_score if kind == b"BYSCORE" else by_lex
    least, most = (stop, start) if is_reversed else (start, stop)
    choose(SortedSet(), least, most)  # bad bounds are told even if there is no such key

    def pick(members: SortedSet) -> list[Pair]:
        pairs = choose(members, least, most)
        if is_reversed:
            pairs.reverse()
        return pairs if limit is None else _limited(pairs, *limit)

    return RangeWanted(pick, with_scores)


def pairs_reply(pairs: Sequence[Pair], with_scores: bool, version: int) -> Reply:
    """Members, with scores if wanted, in the form of version 2 or 3 of the protocol."""
    if not with_scores:
        return [member for member, _ in pairs]
    if version == 3:
        return [[member, score] for member, score in pairs]
    return [one for pair in pairs for one in pair]


def _limited(pairs: list[Pair], offset: int, count: int) -> list[Pair]:
    if offset < 0:
        return []
    return pairs[offset:] if count < 0 else pairs[offset : offset + count]


def _score_bound(text: bytes) -> tuple[float, bool]:
    is_out = text[:1] == b"("
    return one_float(text[1:] if is_out else text, NO_FLOAT), is_out


def _check_lex(bound: bytes) -> None:
    if bound not in (b"-", b"+") and bound[:1] not in (b"[", b"("):
        raise RedisError(NO_LEX)


def _is_above(member: bytes, least: bytes) -> bool:
    if least in (b"-", b"+"):
        return least == b"-"
    return member > least[1:] if least[:1] == b"(" else member >= least[1:]


def _is_below(member: bytes, most: bytes) -> bool:
    if most in (b"-", b"+"):
        return most == b"+"
    return member < most[1:] if most[:1] == b"(" else member <= most[1:]
