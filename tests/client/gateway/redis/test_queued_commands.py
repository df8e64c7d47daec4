"""What a transaction on one key does with what the key holds."""

from __future__ import annotations

from typing import cast

import pytest

from ringmill.client.gateway.redis.commands.command_spec import Parts
from ringmill.client.gateway.redis.commands.connections.queued_commands import QueuedCommands, WatchedKey
from ringmill.client.gateway.redis.protocol.command_parser import MAX_COMMAND_BYTES
from ringmill.client.gateway.redis.protocol.replies import NullArray, RedisError, Reply
from ringmill.client.gateway.redis.store.database import Database
from ringmill.client.gateway.redis.store.key_queues import Change
from ringmill.client.gateway.redis.store.typed_values import Entry

DATABASE = cast("Database", object())


def put(value: bytes) -> Change:
    def change(entry: Entry, _now_ms: int) -> Reply:
        entry.set(value)
        return "OK"

    return change


def fail(_entry: Entry, _now_ms: int) -> Reply:
    raise RedisError("ERR no")


def read(entry: Entry, _now_ms: int) -> Reply:
    return entry.get(bytes)


def test_commands_are_done_in_their_order_and_one_that_fails_leaves_the_others() -> None:
    queued, entry = QueuedCommands(DATABASE, None), Entry(b"old")
    for change in (read, put(b"new"), fail, read):
        queued.add(b"k", change)
    queued.add_parts(Parts([(b"k", read), (b"k", read)], list))
    queued.add_reply("PONG")
    first, second, third, *others = cast("list[object]", queued.change(entry, 0))
    assert (first, second, str(third)) == (b"old", "OK", "ERR no")
    assert others == [b"new", [b"new", b"new"], "PONG"]
    assert entry.value == b"new"


def test_a_second_key_is_refused() -> None:
    queued = QueuedCommands(DATABASE, None)
    queued.add(b"k", read)
    with pytest.raises(RedisError, match="several keys is not offered"):
        queued.add(b"other", read)
    with pytest.raises(RedisError, match="several keys is not offered"):
        queued.add_parts(Parts([(b"k", read), (b"other", read)], list))


@pytest.mark.parametrize(
    ("now", "is_same"),
    [
        (Entry({b"a": b"1"}, 7), True),
        (Entry({b"a": b"2"}, 7), False),
        (Entry({b"a": b"1"}, 8), False),
        (Entry(None), False),
    ],
)
def test_a_watched_key_is_compared_by_what_it_holds(now: Entry, is_same: bool) -> None:
    watched = WatchedKey(DATABASE, b"k")
    seen = Entry({b"a": b"1"}, 7)
    watched.note(seen, 0)
    cast("dict[bytes, bytes]", seen.value)[b"b"] = b"later"
    queued = QueuedCommands(DATABASE, watched)
    queued.add(b"k", put(b"new"))
    reply = queued.change(now, 0)
    assert (reply == ["OK"]) if is_same else isinstance(reply, NullArray)
    assert (now.value == b"new") == is_same


def test_what_is_queued_is_bounded() -> None:
    queued = QueuedCommands(DATABASE, None)
    with pytest.raises(RedisError, match=f"more than {MAX_COMMAND_BYTES} bytes"):
        for _ in range(9):
            queued.grow([b"x" * (1 << 20)])
