"""Commands on lists.  None of them waits for another caller."""

from __future__ import annotations

from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import (
    count_of_pop,
    index_range,
    one_integer,
)
from ringmill.client.gateway.redis.commands.command_spec import KeyCall, one_key, syntax_error
from ringmill.client.gateway.redis.protocol.replies import OK, NullArray, RedisError, Reply

__all__: list[str] = []


def _items(call: KeyCall) -> list[bytes]:
    return call.entry.get_or_new(list)


def _push(call: KeyCall, *, at_head: bool, only_present: bool = False) -> Reply:
    items = _items(call)
    if only_present and not items:
        return 0
    items = [*reversed(call.args), *items] if at_head else [*items, *call.args]
    call.entry.set(items)
    return len(items)


@one_key("LPUSH", -3, "write denyoom fast")
def _lpush(call: KeyCall) -> Reply:
    """Put items before a list, one after the other."""
    return _push(call, at_head=True)


@one_key("RPUSH", -3, "write denyoom fast")
def _rpush(call: KeyCall) -> Reply:
    """Put items behind a list."""
    return _push(call, at_head=False)


@one_key("LPUSHX", -3, "write denyoom fast")
def _lpushx(call: KeyCall) -> Reply:
    """Push values to the left end of a list that exists."""
    return _push(call, at_head=True, only_present=True)


@one_key("RPUSHX", -3, "write denyoom fast")
def _rpushx(call: KeyCall) -> Reply:
    """Push values to the right end of a list that exists."""
    return _push(call, at_head=False, only_present=True)


def _pop(call: KeyCall, *, at_head: bool) -> Reply:
    name = "lpop" if at_head else "rpop"
    count = count_of_pop(call.args, RedisError(f"ERR wrong number of arguments for '{name}' command"))
    items = _items(call)
    if not items:
        return None if count is None else NullArray()
    much = min(1 if count is None else count, len(items))
    taken = items[:much] if at_head else items[len(items) - much :][::-1]
    if much:
        call.entry.set(items[much:] if at_head else items[: len(items) - much])
    return taken[0] if count is None else list(taken)


@one_key("LPOP", -2, "write fast")
def _lpop(call: KeyCall) -> Reply:
    """Remove items from the head of a list, and return them."""
    return _pop(call, at_head=True)


@one_key("RPOP", -2, "write fast")
def _rpop(call: KeyCall) -> Reply:
    """Remove items from the end of a list, and return them."""
    return _pop(call, at_head=False)


@one_key("LLEN", 2, "readonly fast")
def _llen(call: KeyCall) -> Reply:
    """How many items a list has."""
    return len(_items(call))


@one_key("LRANGE", 4, "readonly")
def _lrange(call: KeyCall) -> Reply:
    """A part of a list."""
    start, stop = one_integer(call.args[0]), one_integer(call.args[1])
    items = _items(call)
    first, end = index_range(start, stop, len(items))
    return list(items[first:end])


@one_key("LTRIM", 4, "write")
def _ltrim(call: KeyCall) -> Reply:
    """Keep a part of a list."""
    start, stop = one_integer(call.args[0]), one_integer(call.args[1])
    items = _items(call)
    first, end = index_range(start, stop, len(items))
    if end - first < len(items):
        call.entry.set(items[first:end])
    return OK


@one_key("LINDEX", 3, "readonly")
def _lindex(call: KeyCall) -> Reply:
    """One item of a list."""
    items, at = _items(call), one_integer(call.args[0])
    return items[at] if -len(items) <= at < len(items) else None


@one_key("LSET", 4, "write denyoom")
def _lset(call: KeyCall) -> Reply:
    """Replace one item of a list."""
    items = _items(call)
    if not items:
        raise RedisError("ERR no such key")
    at = one_integer(call.args[0])
    if not -len(items) <= at < len(items):
        raise RedisError("ERR index out of range")
    items[at] = call.args[1]
    call.entry.set(items)
    return OK


@one_key("LREM", 4, "write")
def _lrem(call: KeyCall) -> Reply:
    """Remove items that are equal to one: from the head, or with a negative count from the end."""
    count, wanted = one_integer(call.args[0]), call.args[1]
    items = _items(call)
    places = [place for place, item in enumerate(items) if item == wanted]
    if count:
        places = places[:count] if count > 0 else places[count:]
    if places:
        gone = set(places)
        call.entry.set([item for place, item in enumerate(items) if place not in gone])
    return len(places)


@one_key("LINSERT", 5, "write denyoom")
def _linsert(call: KeyCall) -> Reply:
    """Put an item before or after the first one that is equal to another."""
    where, pivot, item = call.args[0].upper(), call.args[1], call.args[2]
    if where not in (b"BEFORE", b"AFTER"):
        raise syntax_error()
    items = _items(call)
    if not items:
        return 0
    if pivot not in items:
        return -1
    items.insert(items.index(pivot) + (where == b"AFTER"), item)
    call.entry.set(items)
    return len(items)


@one_key("LPOS", -3, "readonly")
def _lpos(call: KeyCall) -> Reply:
    """Where a list has an item."""
    rank, count, most = 1, None, 0
    options = call.args[1:]
    if len(options) % 2:
        raise syntax_error()
    for word, text in zip(options[::2], options[1::2], strict=True):
        if word.upper() == b"RANK":
            rank = one_integer(text)
            if not rank:
                raise RedisError(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
                    "or use negative to start from the end of the list"
                )
        elif word.upper() == b"COUNT":
            count = one_integer(text, "ERR COUNT can't be negative", 0)
        elif word.upper() == b"MAXLEN":
            most = one_integer(text, "ERR MAXLEN can't be negative", 0)
        else:
            raise syntax_error()
    places = _places(_items(call), call.args[0], rank, most)
    if count is None:
        return places[0] if places else None
    return list(places[:count] if count else places)


def _places(items: list[bytes], wanted: bytes, rank: int, most: int) -> list[int]:
    """The places from the `rank`-th one on, backwards when it is negative; `most` items are looked at, 0:
    all."""
    order = range(len(items)) if rank > 0 else range(len(items) - 1, -1, -1)
    looked_at = order[:most] if most else order
    return [place for place in looked_at if items[place] == wanted][abs(rank) - 1 :]
