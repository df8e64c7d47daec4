"""What commands about many keys gather is counted until they end; who only reads ends with the caller."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection
from ringmill.client.gateway.redis.store.key_index import IndexPage, KeyIndex, NamedKey
from ringmill.client.gateway.redis.store.typed_values import SortedSet
from ringmill.client.values import CausalContext
from tests.client.gateway.redis.redis_world import Registers, redis_door
from tests.log_records import own_records

NAMES = 1000
LONG = b"n" * 1000


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Registers:
    """Registers whose names are in three pages; reads about the last one wait."""
    registers = Registers()
    names = [[b"%d %05d" % (page, each) + LONG for each in range(NAMES)] for page in range(3)]
    for page in names:
        for name in page:
            registers.hold(name, b"v")
    registers.waiting.update(names[2])

    async def page_of(index: KeyIndex, cursor: str, prefix: bytes, limit: int) -> IndexPage:
        at = int(cursor or "0")
        found = [NamedKey(name, False, CausalContext(b"")) for name in names[at]]
        return IndexPage(found, "" if at == 2 else str(at + 1))

    monkeypatch.setattr(KeyIndex, "page", page_of)
    return registers


async def test_names_that_keys_has_found_are_counted_while_others_are_looked_for(pages: Registers) -> None:
    async with redis_door(pages) as (door, connect):
        caller = await connect()
        caller.say(b"KEYS", b"*")
        await pages.has_been_asked(2 * NAMES + 200)
        (connection,) = door.connections()
        assert 2 * NAMES * len(LONG) < connection.held_bytes < 3 * NAMES * len(LONG)
        pages.may_answer.set()
        assert await caller.heard() == b"*%d" % (3 * NAMES)
        for _ in range(3 * NAMES):
            await caller.bulk()
        assert await caller.ask(b"PING") == b"+PONG"
        assert connection.held_bytes == 0


@pytest.mark.parametrize("words", [[b"KEYS", b"*"], [b"DBSIZE"], [b"SCAN", b"0", b"COUNT", b"3000"]])
async def test_a_command_that_only_reads_ends_with_its_connection(
    pages: Registers, words: list[bytes]
) -> None:
    async with redis_door(pages) as (door, connect):
        caller, other = await connect(), await connect()
        assert await other.ask(b"PING") == b"+PONG"
        if words[0] == b"SCAN":
            pages.waiting = {name for name in pages.values if name.startswith(b"0")}
        before = 0 if words[0] == b"SCAN" else 2 * NAMES
        caller.say(*words)
        await pages.has_been_asked(before + 200)
        connection = next(each for each in door.connections() if each.last_command == words[0])
        connection.abort()
        for _ in range(300):
            assert await other.ask(b"PING") == b"+PONG"
        pages.may_answer.set()
        assert connection.held_bytes == 0
        assert await other.ask(b"EXISTS", b"other", *list(pages.waiting)[:300]) == b":300"
        assert pages.reads <= before + 200 + 301, "no more than were under way"


@pytest.mark.parametrize(
    "words",
    [
        [b"SUNIONSTORE", b"into", b"set", b"set"],
        [b"ZUNIONSTORE", b"into", b"1", b"sorted"],
        [b"ZRANGESTORE", b"into", b"sorted", b"0", b"-1"],
        [b"BITOP", b"OR", b"into", b"text"],
        [b"COPY", b"set", b"into"],
    ],
    ids=lambda words: words[0].decode(),
)
async def test_what_is_to_be_stored_is_counted_until_it_is(words: list[bytes]) -> None:
    registers = Registers()
    members = [b"%03d" % each + LONG for each in range(200)]
    registers.hold(b"set", set(members))
    registers.hold(b"sorted", SortedSet(dict.fromkeys(members, 1.0)))
    registers.hold(b"text", b"".join(members))
    registers.waiting.add(b"into")
    async with redis_door(registers) as (door, connect):
        caller, other = await connect(), await connect()
        assert await other.ask(b"PING") == b"+PONG"
        caller.say(*words)
        sources = words.count(b"set") or 1
        await registers.has_been_asked(2)
        connection = next(each for each in door.connections() if each.last_command == words[0])
        assert connection.held_bytes > sources * 200_000
        registers.may_answer.set()
        assert (await caller.heard()).startswith(b":")
        assert connection.held_bytes == 0 and b"into" in registers.values


async def test_what_a_dropped_command_was_to_store_is_not_stored() -> None:
    registers = Registers()
    registers.hold(b"set", {b"member"})
    registers.waiting.add(b"into")
    async with redis_door(registers) as (door, connect):
        caller, other = await connect(), await connect()
        assert await other.ask(b"PING") == b"+PONG"
        caller.say(b"SUNIONSTORE", b"into", b"set")
        await registers.has_been_asked(2)
        connection = next(each for each in door.connections() if each.last_command == b"SUNIONSTORE")
        connection.abort()
        async with asyncio.timeout(20):
            while len(door.connections()) > 1:
                assert await other.ask(b"PING") == b"+PONG"
        assert connection.held_bytes, "it writes, so it goes on"
        connection.drop()
        registers.may_answer.set()
        assert await other.ask(b"EXISTS", b"into") == b":0"


async def test_connections_that_have_gone_have_a_bound_of_their_own() -> None:
    registers = Registers()
    keys = [b"k%d" % each for each in range(8)]
    registers.waiting.update(keys)
    async with redis_door(registers, most_gone=5) as (door, connect):
        other = await connect()
        assert await other.ask(b"PING") == b"+PONG"
        for number, key in enumerate(keys):
            (await connect()).say(b"SET", key, b"v")
            await registers.has_been_asked(number + 1)
            door.connections()[-1].abort()
            while len(door.connections()) > 1:
                assert await other.ask(b"PING") == b"+PONG"
        registers.may_answer.set()
        for number, key in enumerate(keys):
            assert await other.ask(b"EXISTS", key) == b":%d" % (number >= 3)


class GoneConnection:
    """Holds some bytes of commands, and knows how often it was looked at."""

    looks = id = told_bytes = 0
    address = "?"

    def __init__(self, held_bytes: int) -> None:
        self.held_bytes = held_bytes

    @property
    def is_gone(self) -> bool:
        GoneConnection.looks += 1
        return True

    def drop(self) -> None:
        self.held_bytes = 0


async def test_room_of_many_that_have_gone_is_made_by_one_look_at_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with redis_door(Registers(), most_held_bytes=10_000) as (door, _):
        gone = [GoneConnection(10 + number % 50) for number in range(1000)]
        for each in gone:
            each.id = len(door._gone)
            door._gone[each.id] = cast("RedisConnection", each)
        door.note_growth(10_001)
        left = [each.held_bytes for each in gone if each.held_bytes]
        assert 9_900 < sum(left) <= 10_000
        assert max(left) <= min(10 + number % 50 for number, each in enumerate(gone) if not each.held_bytes)
        assert GoneConnection.looks <= 10 * len(gone)
        (record,) = own_records(caplog)
        assert f"what {1000 - len(left)} connections had under way as they went" in record.getMessage()
