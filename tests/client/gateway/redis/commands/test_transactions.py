"""WATCH, MULTI and EXEC as a caller says them."""

from __future__ import annotations

from ringmill.client.gateway.redis.store.typed_values import Entry
from tests.client.gateway.redis.redis_world import Registers, Spoken, redis_door


async def watches(caller: Spoken) -> None:
    assert await caller.ask(b"SET", b"balance", b"100") == b"+OK"
    assert await caller.ask(b"WATCH", b"balance") == b"+OK"


def say_transaction(caller: Spoken) -> None:
    """In one packet, as libraries do."""
    for words in ([b"MULTI"], [b"SET", b"balance", b"90"], [b"EXEC"]):
        caller.say(*words)


def held(registers: Registers) -> object:
    return Entry.decode(registers.values[b"balance"][0], 0).value


async def test_nothing_is_done_when_the_watched_key_is_of_another_database() -> None:
    registers = Registers()
    async with redis_door(registers) as (_, connect):
        caller = await connect()
        await watches(caller)
        assert await caller.ask(b"SELECT", b"1") == b"+OK"
        say_transaction(caller)
        assert [await caller.heard() for _ in range(2)] == [b"+OK", b"+QUEUED"]
        told = await caller.heard()
        assert told == b"-EXECABORT WATCH in one database and MULTI in another is not offered"
        assert held(registers) == b"100"
        say_transaction(caller)  # nothing is watched any more
        assert [await caller.heard() for _ in range(4)] == [b"+OK", b"+QUEUED", b"*1", b"+OK"]


async def test_what_was_watched_is_watched_when_another_token_is_shown() -> None:
    registers = Registers()
    async with redis_door(registers) as (_, connect):
        caller, other = await connect(), await connect()
        for is_changed in (True, False):
            await watches(caller)
            assert await caller.ask(b"AUTH", b"another-%d" % is_changed) == b"+OK"
            if is_changed:
                assert await other.ask(b"SET", b"balance", b"0") == b"+OK"
            say_transaction(caller)
            assert [await caller.heard() for _ in range(2)] == [b"+OK", b"+QUEUED"]
            assert await caller.heard() == (b"*-1" if is_changed else b"*1")
            assert held(registers) == (b"0" if is_changed else b"90")
        assert await caller.heard() == b"+OK"
