"""A command on many keys asks for some of them at a time, and keeps its place before what follows it."""

from __future__ import annotations

import asyncio

import pytest

from ringmill.client.gateway.redis.store.key_queues import MOST_ASKED
from ringmill.client.registers.registers import RegisterValue
from tests.client.gateway.redis.redis_world import Registers, redis_door

KEYS = [b"k%04d" % each for each in range(3 * MOST_ASKED)]


class Counting(Registers):
    """Knows how many reads were under way at a time; each takes a few turns of the loop."""

    under_way = most_under_way = 0

    async def get(self, key: bytes, *, timeout: float) -> RegisterValue:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        for _ in range(5):
            await asyncio.sleep(0)
        self.under_way -= 1
        return await super().get(key, timeout=timeout)


@pytest.mark.parametrize(
    "words",
    [
        [b"MGET", *KEYS],
        [b"MSET", *[word for key in KEYS for word in (key, b"v")]],
        [b"SUNIONSTORE", b"into", *KEYS],
    ],
    ids=lambda words: words[0].decode(),
)
async def test_some_keys_are_asked_for_at_a_time(words: list[bytes]) -> None:
    registers = Counting()
    async with redis_door(registers) as (_, connect):
        caller = await connect()
        caller.say(*words)
        caller.say(*words)
        assert (await caller.heard())[:1] in b"+:*"
        assert MOST_ASKED // 2 < registers.most_under_way <= MOST_ASKED


async def test_what_follows_sees_what_a_command_on_many_keys_has_done() -> None:
    registers = Counting()
    async with redis_door(registers) as (_, connect):
        caller = await connect()
        caller.say(b"MSET", *[word for key in KEYS for word in (key, b"v")])
        caller.say(b"APPEND", KEYS[-1], b"w")
        caller.say(b"DEL", *KEYS)
        caller.say(b"EXISTS", *KEYS)
        assert [await caller.heard() for _ in range(4)] == [b"+OK", b":2", b":%d" % len(KEYS), b":0"]


async def test_another_caller_does_not_wait_for_them() -> None:
    registers = Counting()
    registers.waiting.update(KEYS)
    async with redis_door(registers) as (_, connect):
        caller, other = await connect(), await connect()
        caller.say(b"MGET", *KEYS)
        async with asyncio.timeout(20):
            while registers.under_way < MOST_ASKED and registers.reads < MOST_ASKED:
                assert await other.ask(b"PING") == b"+PONG"
        other.say(b"MGET", *[b"other%d" % each for each in range(300)])
        assert await other.heard() == b"*300"
        registers.may_answer.set()
        assert await caller.heard() == b"*%d" % len(KEYS)
