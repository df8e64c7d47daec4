"""Commands that combine several sorted sets, or plain sets, whose members count 1."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ringmill.client.gateway.redis.commands.arguments.counted_keys import (
    counted_keys,
    counted_keys_with_limit,
    read_one_by_one,
    store_value,
)
from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import one_float
from ringmill.client.gateway.redis.commands.command_spec import (
    Parts,
    each_key,
    syntax_error,
    waiting_command,
)
from ringmill.client.gateway.redis.commands.sorted_sets.member_ranges import pairs_reply
from ringmill.client.gateway.redis.protocol.replies import Reply
from ringmill.client.gateway.redis.store.key_queues import Change
from ringmill.client.gateway.redis.store.typed_values import Entry, SortedSet

if TYPE_CHECKING:
    from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection

__all__: list[str] = []


def _sum(one: float, other: float) -> float:
    """Redis counts inf and -inf as 0 together."""
    total = one + other
    return 0.0 if math.isnan(total) else total


_AGGREGATES: Final[dict[bytes, Callable[[float, float], float]]] = {b"SUM": _sum, b"MIN": min, b"MAX": max}


@dataclass(frozen=True, slots=True)
class _Wanted:
    keys: Sequence[bytes]
    weights: Sequence[float]
    aggregate: Callable[[float, float], float]
    with_scores: bool


def _wanted(args: Sequence[bytes], command: str, *, is_difference: bool, stores: bool) -> _Wanted:
    keys, rest = counted_keys(args, command)
    words = deque(rest)
    weights, with_scores = [1.0] * len(keys), False
    aggregate: Callable[[float, float], float] = _sum
    while words:
        word = words.popleft().upper()
        if word == b"WITHSCORES" and not stores:
            with_scores = True
        elif word == b"WEIGHTS" and not is_difference and len(words) >= len(keys):
            weights = [one_float(words.popleft(), "ERR weight value is not a float") for _ in keys]
        elif word == b"AGGREGATE" and not is_difference and words and words[0].upper() in _AGGREGATES:
            aggregate = _AGGREGATES[words.popleft().upper()]
        else:
            raise syntax_error()
    return _Wanted(keys, weights, aggregate, with_scores)


def _read(entry: Entry, _now_ms: int) -> Reply:
    """Pairs as version 3 tells them."""
    if isinstance(entry.value, set):
        return [[member, 1.0] for member in entry.value]
    return [[member, score] for member, score in entry.get_or_new(SortedSet).items()]


@dataclass(frozen=True, slots=True)
class _Source:
    """A set to combine, and what its scores are multiplied by."""

    scores: dict[bytes, float]
    weight: float

    def score(self, member: bytes) -> float:
        """What the member counts; not a number for inf times 0."""
        return self.scores[member] * self.weight


Combine: TypeAlias = Callable[[Sequence[_Source], _Wanted], SortedSet]


def _counted(score: float) -> float:
    return 0.0 if math.isnan(score) else score


def _union(sources: Sequence[_Source], wanted: _Wanted) -> SortedSet:
    whole = SortedSet()
    for one in sources:
        for member in one.scores:
            score = _counted(one.score(member))
            whole[member] = wanted.aggregate(whole[member], score) if member in whole else score
    return whole


def _intersection(sources: Sequence[_Source], wanted: _Wanted) -> SortedSet:
    """The intersection.  As in Redis, only the first product counts 0 when it is not a number; a sum then is
    0."""
    first, *others = sources
    whole = SortedSet()
    for member in first.scores:
        if all(member in one.scores for one in others):
            scores = (one.score(member) for one in others)
            whole[member] = reduce(wanted.aggregate, scores, _counted(first.score(member)))
    return whole


def _difference(sources: Sequence[_Source], wanted: _Wanted) -> SortedSet:
    first, *others = (one.scores for one in sources)
    taken = set[bytes]().union(*others)
    return SortedSet((member, score) for member, score in first.items() if member not in taken)


def _combined(replies: Sequence[Any], wanted: _Wanted, combine: Combine) -> SortedSet:
    pairs = zip(replies, wanted.weights, strict=True)
    sources = [_Source(dict(members), weight) for members, weight in pairs]
    if combine is not _difference:  # the order shows in sums with inf and -inf
        sources.sort(key=lambda source: len(source.scores))
    return combine(sources, wanted)


def _register(name: str, combine: Combine, about: str) -> None:
    is_difference = combine is _difference

    def run(args: Sequence[bytes], version: int) -> Parts:
        wanted = _wanted(args, name.lower(), is_difference=is_difference, stores=False)

        def tell(replies: Sequence[Any]) -> Reply:
            pairs = _combined(replies, wanted, combine).in_order()
            return pairs_reply(pairs, wanted.with_scores, version)

        read: Change = _read
        return Parts([(key, read) for key in wanted.keys], tell)

    async def store(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
        wanted = _wanted(args[1:], f"{name.lower()}store", is_difference=is_difference, stores=True)
        async with read_one_by_one(connection, wanted.keys, _read) as replies:
            return await store_value(connection, args[0], _combined(replies, wanted, combine))

    run.__doc__ = f"{about}, each set read by itself."
    store.__doc__ = f"Set a key to what {name} gives, in a second step."
    each_key(name, -3, "readonly", first=0, last=0, step=0)(run)
    waiting_command(f"{name}STORE", -4, "write denyoom movablekeys", keys=(1, 1, 1))(store)


_register("ZUNION", _union, "The members that any of the sorted sets has")
_register("ZINTER", _intersection, "The members that all sorted sets have")
_register("ZDIFF", _difference, "The members of the first sorted set that no other has")


@each_key("ZINTERCARD", -3, "readonly", first=0, last=0, step=0)
def _zintercard(args: Sequence[bytes], _version: int) -> Parts:
    """How many members all sorted sets have, each set read by itself."""
    keys, limit = counted_keys_with_limit(args)

    def count(replies: Sequence[Any]) -> Reply:
        names = [{member for member, _ in pairs} for pairs in replies]
        found = len(set.intersection(*names))
        return min(found, limit) if limit else found

    return Parts([(key, _read) for key in keys], count)
