"""A command on many keys asks for some of them at a time, and keeps its place before what follows it."""

from __future__ import annotations

import asyncio

import pytest

from ringmill.client.gateway.redis.protocol.replies import Reply
from ringmill.client.gateway.redis.store.key_queues import MOST_ASKED, Droppable, KeyQueues
from ringmill.client.gateway.redis.store.turns import Turns
from ringmill.client.gateway.redis.store.typed_values import Entry
from ringmill.client.registers.registers import RegisterValue
from ringmill.cluster.adapters.system_clock import SystemClock
from tests.client.gateway.redis.redis_world import Registers, lending, redis_door

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


@pytest.mark.parametrize("words", [[b"GET", KEYS[-1]], [b"MGET", KEYS[-1], KEYS[-2]]])
async def test_another_caller_does_not_wait_for_them_on_the_same_keys_either(words: list[bytes]) -> None:
    registers = Registers()
    registers.waiting.update(KEYS[:-2])
    async with redis_door(registers) as (_, connect):
        caller, other = await connect(), await connect()
        caller.say(b"MSET", *[word for key in KEYS for word in (key, b"v")])
        await registers.has_been_asked(MOST_ASKED)
        assert (await asyncio.wait_for(other.ask(*words), 5))[:1] in b"$*"
        assert registers.reads <= MOST_ASKED + 2
        assert {*registers.values} == {word for word in words if word in KEYS}
        registers.may_answer.set()
        assert await caller.heard() == b"+OK"


async def test_each_of_two_callers_has_its_turns_on_the_same_keys() -> None:
    registers = Counting()
    async with redis_door(registers) as (_, connect):
        callers = [await connect() for _ in range(2)]
        for caller in callers:
            caller.say(b"MGET", *KEYS)
        for caller in callers:
            assert await caller.heard() == b"*%d" % len(KEYS)
        assert registers.most_under_way <= 2 * MOST_ASKED


def nothing(_entry: Entry, _now_ms: int) -> Reply:
    return None


async def test_what_was_dropped_is_held_no_longer_though_the_key_waits() -> None:
    registers, turns, told = Registers(), Turns(0), list[Reply]()
    queues = KeyQueues(lambda: lending(registers), "db", has_token=False, timeout_s=20.0, clock=SystemClock())
    left = queues.ask(b"k", nothing, turns)
    for _ in range(5000):
        change = Droppable(nothing)
        queues.submit(b"k", change, told.append, turns)
        change.drop()
    last = queues.ask(b"k", nothing, turns)
    assert len(told) >= 4000
    assert not left.done() and not last.done()
    turns.give_back()
    assert await left is None and await last is None
    assert (len(told), registers.reads) == (5000, 1)


async def test_turns_are_given_in_order_and_none_is_lost() -> None:
    turns, others = Turns(1), Turns(0)
    loop = asyncio.get_running_loop()
    places = [loop.create_future() for _ in range(6)]
    for place in places[:4]:
        turns.ask(place)
    others.ask(places[1])
    others.give_back()
    turns.forget(places[2])
    turns.give_back()
    assert [place.done() and place.result() for place in places[:4]] == [turns, others, False, turns]
    turns.give_back()
    for place in places[4:]:
        turns.ask(place)
    assert [place.done() for place in places[4:]] == [True, False]
