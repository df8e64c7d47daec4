"""What a transaction on one key does with what the key holds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from ringmill.client.gateway.redis.commands.command_spec import Parts
from ringmill.client.gateway.redis.commands.connections.queued_commands import QueuedCommands, WatchedKey
from ringmill.client.gateway.redis.protocol.command_parser import MAX_COMMAND_BYTES
from ringmill.client.gateway.redis.protocol.replies import NullArray, RedisError, Reply
from ringmill.client.gateway.redis.protocol.reply_sizes import reply_size
from ringmill.client.gateway.redis.serving.answer_room import AnswerRoom
from ringmill.client.gateway.redis.serving.redis_limits import RedisLimits
from ringmill.client.gateway.redis.store.database import Database
from ringmill.client.gateway.redis.store.key_queues import Change
from ringmill.client.gateway.redis.store.typed_values import Entry, RedisValue, SortedSet

DATABASE = cast("Database", SimpleNamespace(name="db"))
ROOM = AnswerRoom(RedisLimits(), lambda: 0)


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
    queued, entry = QueuedCommands(DATABASE, None, ROOM), Entry(b"old")
    for change in (read, put(b"new"), fail, read):
        queued.add(b"k", change)
    queued.add_parts(Parts([(b"k", read), (b"k", read)], list))
    queued.add_reply("PONG")
    first, second, third, *others = cast("list[object]", queued(entry, 0))
    assert (first, second, str(third)) == (b"old", "OK", "ERR no")
    assert others == [b"new", [b"new", b"new"], "PONG"]
    assert entry.value == b"new"


def test_a_second_key_is_refused() -> None:
    queued = QueuedCommands(DATABASE, None, ROOM)
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
    queued = QueuedCommands(DATABASE, watched, ROOM)
    queued.add(b"k", put(b"new"))
    reply = queued(now, 0)
    assert (reply == ["OK"]) if is_same else isinstance(reply, NullArray)
    assert (now.value == b"new") == is_same


def test_a_watched_key_is_the_same_in_any_order_and_not_of_another_type() -> None:
    members = [b"%d" % each for each in range(100)]
    values: list[RedisValue] = [set(members), list(members), b"", [], {}, set()]
    for order in (members, members[::-1]):
        values += [dict.fromkeys(order, b""), SortedSet((member, 0.0) for member in order)]
    values.append(SortedSet((member, -0.0) for member in members))
    for one in values:
        for other in values:
            is_same = type(one) is type(other) and one == other
            assert (Entry(one).digest() == Entry(other).digest()) == is_same


def test_what_is_queued_is_bounded() -> None:
    queued = QueuedCommands(DATABASE, None, ROOM)
    with pytest.raises(RedisError, match=f"more than {MAX_COMMAND_BYTES} bytes"):
        for _ in range(9):
            queued.grow([b"x" * (1 << 20)])


def test_answers_that_are_too_large_together_are_left_out_and_the_commands_are_done() -> None:
    queued = QueuedCommands(DATABASE, None, AnswerRoom(RedisLimits(most_answer_bytes=20_000), lambda: 0))
    reads = 0

    def large(entry: Entry, _now_ms: int) -> Reply:
        nonlocal reads
        reads += 1
        return b"v" * 4000

    for _ in range(10):
        queued.add(b"k", large, only_reads=True)
    queued.add(b"k", put(b"new"))
    entry = Entry(b"old")
    *told, last = cast("list[Reply]", queued(entry, 0))
    assert entry.value == b"new" and last == "OK"
    left_out = [str(one) for one in told if isinstance(one, RedisError)]
    assert 0 < len(left_out) < 10 and reads <= 5
    assert all("the transaction was done" in text and "20000 bytes" in text for text in left_out)
    assert reply_size([*told, last]) <= 20_000
