"""What a caller of the Redis door learns of connections, and does with them: those of its token only."""

from __future__ import annotations

import pytest

from tests.client.gateway.redis.redis_world import Registers, redis_door


@pytest.mark.parametrize("words", [[b"KILL", b"TYPE", b"normal"], [b"LIST"]])
async def test_whoever_has_shown_no_token_neither_sees_nor_closes_those_that_will_show_theirs(
    words: list[bytes],
) -> None:
    registers = Registers()
    registers.needs_token = True
    async with redis_door(registers) as (_, connect):
        caller, other = await connect(), await connect()
        assert await other.ask(b"PING") == b"+PONG"
        assert await caller.ask(b"CLIENT", *words) == b"-NOAUTH Authentication required."
        assert await other.ask(b"PING") == b"+PONG"
        registers.needs_token = False
        assert (await caller.ask(b"CLIENT", *words))[:1] in (b":", b"$")


async def test_whoever_has_shown_no_token_does_not_set_figures_that_are_watched_to_0() -> None:
    registers = Registers()
    registers.needs_token = True
    async with redis_door(registers) as (door, connect):
        caller = await connect()
        door.expiry.expired_keys = 7
        assert await caller.ask(b"CONFIG", b"RESETSTAT") == b"-NOAUTH Authentication required."
        assert door.expiry.expired_keys == 7
        registers.needs_token = False
        assert await caller.ask(b"CONFIG", b"RESETSTAT") == b"+OK"
        assert door.expiry.expired_keys == 0


async def test_a_list_of_connections_tells_what_each_has_queued() -> None:
    async with redis_door(Registers()) as (_, connect):
        caller, other = await connect(), await connect()
        told = [await other.ask(*words) for words in ([b"MULTI"], [b"PING"], [b"INCR", b"a"])]
        assert told == [b"+OK", b"+QUEUED", b"+QUEUED"]
        caller.say(b"CLIENT", b"LIST")
        first, second = (await caller.bulk()).splitlines()
        assert b" flags=N " in first and b" multi=-1 " in first
        assert b" flags=x " in second and b" multi=2 " in second


async def test_a_reset_is_answered_when_no_command_was() -> None:
    async with redis_door(Registers()) as (_, connect):
        caller = await connect()
        for words in ([b"CLIENT", b"REPLY", b"OFF"], [b"PING"], [b"RESET"], [b"ECHO", b"there"]):
            caller.say(*words)
        assert await caller.heard() == b"+RESET"
        assert await caller.bulk() == b"there"
