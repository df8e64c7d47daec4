"""A transaction that takes long leaves other callers their turn, and is one step all the same."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from ringmill.client.gateway.redis.commands.connections.queued_commands import QueuedCommands
from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply
from ringmill.client.gateway.redis.serving.answer_room import AnswerRoom
from ringmill.client.gateway.redis.serving.redis_limits import RedisLimits
from ringmill.client.gateway.redis.store.database import Database
from ringmill.client.gateway.redis.store.key_queues import Change, KeyQueues
from ringmill.client.gateway.redis.store.typed_values import Entry, RedisValue, SortedSet
from ringmill.client.registers.registers import RegisterValue
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Conflict, DeadlineExceeded
from tests.client.gateway.redis.redis_world import Registers, lending


class SlowClock(SystemClock):
    """Stands still but for what is added."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


class World:
    """One key whose members are counted, each in 4 ms by `slow`."""

    def __init__(self, registers: Registers | None = None) -> None:
        self.registers = registers or Registers()
        self.clock = SlowClock()
        self.queues = KeyQueues(
            lambda: lending(self.registers), "db", has_token=False, timeout_s=5.0, clock=self.clock
        )
        self.turns = 0

    def add(self, entry: Entry, _now_ms: int) -> Reply:
        members = entry.get_or_new(dict)
        members[b"%d" % len(members)] = b""
        entry.set(members)
        return len(members)

    def slow(self, entry: Entry, now_ms: int) -> Reply:
        self.clock.now_s += 0.004
        return self.add(entry, now_ms)

    def transaction(self, change: Change, times: int) -> QueuedCommands:
        queued = QueuedCommands(cast("Database", object()), None, AnswerRoom(RedisLimits(), lambda: 0))
        for _ in range(times):
            queued.add(b"k", change)
        return queued

    async def take_turns(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)

    def held(self) -> Any:
        return Entry.decode(self.registers.values.get(b"k", (None, 0))[0], 0).value


async def test_others_get_their_turn_amid_a_long_transaction() -> None:
    world = World()
    beside = asyncio.create_task(world.take_turns())
    told = await world.queues.ask(b"k", world.transaction(world.slow, 300))
    assert told == list(range(1, 301))
    assert world.turns > 80
    assert world.registers.values[b"k"][1] == 1, "one change"
    beside.cancel()


async def test_one_that_takes_longer_than_a_request_may_does_nothing_and_fails_alone() -> None:
    world = World()
    long = world.queues.ask(b"k", world.transaction(world.slow, 1500))
    behind = world.queues.ask(b"k", world.add)
    told = await long
    assert isinstance(told, RedisError) and told.text.startswith("TIMEOUT what was to be done in one step")
    assert "takes more than 5 s, and nothing was done" in told.text
    assert await behind == 1
    assert list(world.held()) == [b"0"]


async def test_those_before_and_behind_it_are_each_done_once() -> None:
    world = World()
    asked = [world.queues.ask(b"k", world.add) for _ in range(3)]
    asked.append(world.queues.ask(b"k", world.transaction(world.slow, 20)))
    asked += [world.queues.ask(b"k", world.add) for _ in range(2)]
    told = await asyncio.gather(*asked)
    assert told == [1, 2, 3, list(range(4, 24)), 24, 25]
    assert len(world.held()) == 25
    assert world.registers.values[b"k"][1] == 3, "those before it, it alone, and those behind it"


async def test_short_transactions_are_done_together() -> None:
    world = World()
    told = await asyncio.gather(*(world.queues.ask(b"k", world.transaction(world.add, 2)) for _ in range(50)))
    assert told == [[2 * at + 1, 2 * at + 2] for at in range(50)]
    assert world.registers.values[b"k"][1] == 1


class Contended(Registers):
    """Somebody else has always been faster."""

    async def cas(self, key: bytes, value: bytes | None, *, timeout: float, **expected: Any) -> int:
        raise Conflict("the register holds something else")


async def test_what_is_done_over_has_the_time_of_one_request() -> None:
    world = World(Contended())
    told = await world.queues.ask(b"k", world.transaction(world.slow, 300))
    assert isinstance(told, RedisError) and told.text.startswith("TIMEOUT ")
    assert world.clock.now_s < 7


class Ending(Registers):
    """The first change ends with an error, after which nobody knows whether it was done."""

    async def cas(self, key: bytes, value: bytes | None, *, timeout: float, **expected: Any) -> int:
        version = await super().cas(key, value, timeout=timeout, **expected)
        if version == 1:
            raise DeadlineExceeded("no answer has come in time", outcome="unknown")
        return version


class Late(Registers):
    """A read takes seconds."""

    clock: SlowClock

    async def get(self, key: bytes, *, timeout: float) -> RegisterValue:
        self.clock.now_s += 0 if self.values else 4.9
        return await super().get(key, timeout=timeout)


class ContendedFor5Seconds(Contended):
    """Somebody else is faster until the time of the first one is over."""

    clock: SlowClock

    async def cas(self, key: bytes, value: bytes | None, *, timeout: float, **expected: Any) -> int:
        self.clock.now_s += 0.6
        if self.clock.now_s < 6:
            return await super().cas(key, value, timeout=timeout, **expected)
        return await Registers.cas(self, key, value, timeout=timeout, **expected)


@pytest.mark.parametrize(
    ("kind", "times", "why", "first"),
    [
        (ContendedFor5Seconds, 300, "others changed the key for 5 s", 1),
        (Late, 26, "what was to be done in one step takes more than 5 s", 1),
        (Ending, 20, "no answer has come in time; it may have been done", 21),
    ],
)
async def test_one_that_ends_with_an_error_after_a_long_time_fails_alone(
    kind: type[Registers], times: int, why: str, first: int
) -> None:
    world = World(registers := kind())
    if isinstance(registers, Late | ContendedFor5Seconds):
        registers.clock = world.clock
    long = world.queues.ask(b"k", world.transaction(world.slow, times))
    behind = [world.queues.ask(b"k", world.add) for _ in range(3)]
    told = await long
    assert isinstance(told, RedisError) and told.text.startswith(f"TIMEOUT {why}")
    assert await asyncio.gather(*behind) == [first, first + 1, first + 2]


async def test_a_long_one_does_not_fail_with_those_before_it() -> None:
    world = World(Ending())
    asked = [world.queues.ask(b"k", world.add) for _ in range(2)]
    asked.append(world.queues.ask(b"k", world.transaction(world.slow, 20)))
    asked.append(world.queues.ask(b"k", world.add))
    *before, long, behind = await asyncio.gather(*asked)
    assert all(isinstance(each, RedisError) and "it may have been done" in each.text for each in before)
    assert (long, behind) == (list(range(3, 23)), 23)


@pytest.mark.parametrize("value", [b"v", {b"f": b"v"}, {b"m"}, SortedSet({b"m": 1.0}), [b"m"]])
def test_a_value_that_is_kept_is_left_alone_by_later_changes(value: RedisValue) -> None:
    entry = Entry(value, 7)
    kept = entry.kept()
    assert (kept.digest(), type(kept.value), kept.is_changed) == (entry.digest(), type(value), False)
    if not isinstance(value, bytes):
        value.clear()
        assert kept.value
    entry.set(b"other")
    assert kept.value != b"other" and not kept.is_changed


async def test_what_is_dropped_in_its_queue_costs_no_request() -> None:
    world = World()
    world.registers.waiting.add(b"k")
    asked = [world.queues.ask(b"k", world.add) for _ in range(3)]
    await world.registers.has_been_asked(1)
    left = [world.queues.ask(b"k", world.add) for _ in range(2500)]
    for each in left:
        each.cancel()
    await asyncio.sleep(0)
    last = world.queues.ask(b"k", world.add)
    world.registers.may_answer.set()
    assert await asyncio.gather(*asked, last) == [1, 2, 3, 4]
    assert (world.registers.reads, len(world.held())) == (2, 4)
