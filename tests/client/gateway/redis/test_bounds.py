"""What a caller of the Redis door can make it hold: each bound has an error that names it; others go on."""

from __future__ import annotations

import asyncio
import socket
import struct
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringmill.client.gateway.redis import redis_door as redis_door_module
from ringmill.client.gateway.redis.protocol import command_parser
from ringmill.client.gateway.redis.protocol import replies as replies_module
from ringmill.client.gateway.redis.protocol.replies import Reply, encode_reply
from ringmill.client.gateway.redis.protocol.reply_sizes import reply_size
from ringmill.client.gateway.redis.serving.redis_limits import RedisLimits
from ringmill.client.gateway.redis.store.key_queues import KeyQueues
from ringmill.client.gateway.redis.store.typed_values import Entry
from ringmill.client.registers.registers import RegisterValue
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.limits import MAX_VALUE_BYTES
from tests.client.gateway.redis.redis_world import Registers, Spoken, lending, redis_door
from tests.log_records import own_records

LARGE = b"v" * (MAX_VALUE_BYTES - 64)
MIB = 1 << 20

replies = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text() | st.just(b""),
    lambda inner: st.lists(inner) | st.dictionaries(st.binary(), inner) | st.frozensets(st.binary()),
)


@settings(max_examples=50)
@given(replies, st.sampled_from([2, 3]))
def test_a_reply_takes_no_more_than_is_said_of_it(reply: Reply, version: int) -> None:
    if isinstance(reply, int) and abs(reply) >= 1 << 63:
        return  # no command answers with it
    assert len(encode_reply(reply, version)) <= reply_size(reply)


@pytest.fixture
def peak() -> Iterator[tracemalloc.Snapshot | None]:
    tracemalloc.start()
    yield None
    tracemalloc.stop()


def large_world() -> Registers:
    registers = Registers()
    registers.hold(b"text", LARGE)
    registers.hold(b"hash", {b"field": LARGE[:-64]})
    registers.hold(b"set", {LARGE[:-64]})
    registers.hold(b"tiny", {b"%05d" % each for each in range(20_000)})
    return registers


@pytest.mark.parametrize(
    "words",
    [
        [b"MGET", *[b"text"] * 1000],
        [b"HMGET", b"hash", *[b"field"] * 5000],
        [b"SRANDMEMBER", b"set", b"-65536"],
        [b"SUNION", *[b"tiny"] * 1000],
        [b"SUNIONSTORE", b"into", *[b"tiny"] * 1000],
    ],
    ids=lambda words: words[0].decode(),
)
@pytest.mark.usefixtures("peak")
async def test_an_answer_above_the_limit_is_one_error_and_takes_no_memory(words: list[bytes]) -> None:
    limit = RedisLimits().most_answer_bytes
    async with redis_door(large_world()) as (_, connect):
        caller = await connect()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        told = await caller.ask(*words)
        assert told.startswith(b"-ERR the answer would have ") and b"%d" % limit in told
        assert tracemalloc.get_traced_memory()[1] - before < 5 * limit
        assert await caller.ask(b"PING") == b"+PONG", "the connection goes on"


async def test_keys_of_one_command_have_a_bound() -> None:
    async with redis_door(large_world()) as (_, connect):
        caller = await connect()
        for words in ([b"DEL", *[b"a"] * 10_001], [b"SUNIONSTORE", b"into", *[b"a"] * 10_001]):
            assert await caller.ask(*words) == b"-ERR the command has 10001 keys, the limit is 10000"
        assert await caller.ask(b"MULTI") == b"+OK"
        told = await caller.ask(b"MGET", *[b"a"] * 10_001)
        assert told == b"-ERR the command has 10001 keys, the limit is 10000"
        assert await caller.ask(b"DISCARD") == b"+OK"
        assert await caller.ask(b"EXISTS", *[b"tiny"] * 10_000) == b":10000"


async def test_commands_of_a_transaction_have_a_bound_without_arguments_too() -> None:
    async with redis_door(Registers()) as (door, connect):
        caller = await connect()
        assert await caller.ask(b"MULTI") == b"+OK"
        caller.say(b"PING", times=1001)
        assert [await caller.heard() for _ in range(1000)] == [b"+QUEUED"] * 1000
        assert door.connections()[0].held_bytes >= 1000 * 64
        assert await caller.heard() == b"-ERR there are 1000 commands since MULTI, and no more may be queued"
        assert (await caller.ask(b"EXEC")).startswith(b"-EXECABORT ")


async def test_answers_of_a_transaction_have_the_bound_of_one_command() -> None:
    async with redis_door(large_world()) as (_, connect):
        caller = await connect()
        words = [[b"SUNION", *[b"set"] * 300], [b"SADD", b"set", b""], *[[b"SMEMBERS", b"set"]] * 30]
        for each in [[b"MULTI"], *words, [b"EXEC"]]:
            caller.say(*each)
        assert [await caller.heard() for _ in range(1 + len(words))] == [b"+OK"] + [b"+QUEUED"] * len(words)
        assert await caller.heard() == b"*%d" % len(words)
        assert (await caller.heard()).startswith(b"-ERR the answer would have ")
        assert await caller.heard() == b":1"
        left_out = 0
        for _ in range(30):
            if (line := await caller.heard()).startswith(b"*"):
                assert {len(await caller.bulk()) for _ in range(2)} == {0, len(LARGE) - 64}
            else:
                left_out += line.startswith(b"-ERR the transaction was done, and this answer is left out")
        assert left_out == 30 - 15
        assert await caller.ask(b"SISMEMBER", b"set", b"") == b":1"


async def test_members_are_drawn_with_repeats_up_to_a_stated_number() -> None:
    async with redis_door(large_world()) as (_, connect):
        told = await (await connect()).ask(b"SRANDMEMBER", b"tiny", b"-65537")
        assert told == b"-ERR value is out of range, it must be at least -65536"


async def test_whoever_reads_gets_all_answers_however_large_the_pipeline() -> None:
    async with redis_door(large_world()) as (_, connect):
        caller = await connect()
        caller.say(b"GET", b"text", times=100)
        for _ in range(100):
            assert await caller.heard() == b"$%d" % len(LARGE)
            assert await caller.reader.readexactly(len(LARGE) + 2)


@pytest.mark.usefixtures("peak")
async def test_whoever_does_not_read_is_held_up_and_others_are_answered() -> None:
    registers = large_world()
    async with redis_door(registers) as (door, connect):
        deaf, other = await connect(), await connect()
        deaf.writer.transport.pause_reading()
        before = tracemalloc.get_traced_memory()[0]
        deaf.say(b"HGETALL", b"hash", times=1000)
        for _ in range(100):
            assert await other.ask(b"SCARD", b"none") == b":0"
        assert max(each.room.used for each in door.connections()) > MIB
        assert tracemalloc.get_traced_memory()[1] - before < 3 * RedisLimits().most_unread_bytes
        assert await other.ask(b"PING") == b"+PONG"
        assert len(door.connections()) == 2


async def test_an_answer_without_room_is_left_out_and_the_error_says_that_it_was_done() -> None:
    registers = large_world()
    async with redis_door(registers, most_unread_bytes=3 * MIB) as (_, connect):
        caller = await connect()
        for _ in range(80):
            assert await caller.ask(b"PING") == b"+PONG"  # so that short answers are expected
        registers.waiting.add(b"absent")
        caller.say(b"GET", b"absent")
        for number in range(6):
            registers.hold(b"text%d" % number, LARGE)
            caller.say(b"GET", b"text%d" % number)
        await registers.has_been_asked(7)
        assert await (await connect()).ask(b"EXISTS", b"text0", b"text5") == b":2"  # behind those reads
        registers.may_answer.set()
        assert await caller.heard() == b"$-1"
        told = []
        for _ in range(6):
            line = await caller.heard()
            if line.startswith(b"$"):
                await caller.reader.readexactly(len(LARGE) + 2)
            told.append(line)
        left_out = [
            line for line in told if line.startswith(b"-ERR the command was done, and its answer of ")
        ]
        assert left_out and all(b"a connection may have %d" % (3 * MIB) in line for line in left_out)
        assert await caller.ask(b"PING") == b"+PONG"


async def test_replies_about_one_key_are_made_about_a_mib_at_a_time() -> None:
    registers = large_world()
    queues = KeyQueues(lambda: lending(registers), "db", has_token=False, timeout_s=20.0, clock=SystemClock())
    told = await asyncio.gather(*(queues.ask(b"text", lambda entry, _: entry.get(bytes)) for _ in range(100)))
    assert told == [LARGE] * 100
    assert 50 <= registers.reads <= 60


class SlowClock(SystemClock):
    """Stands still but for what is added."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


async def test_changes_that_take_long_are_made_a_few_at_a_time() -> None:
    registers, clock = Registers(), SlowClock()

    def slow(entry: Entry, _now_ms: int) -> Reply:
        clock.now_s += 0.004
        return b""

    queues = KeyQueues(lambda: lending(registers), "db", has_token=False, timeout_s=20.0, clock=clock)
    assert await asyncio.gather(*(queues.ask(b"text", slow) for _ in range(30))) == [b""] * 30
    assert registers.reads == 10


async def test_arguments_under_way_have_a_bound() -> None:
    registers = Registers()
    async with redis_door(registers, most_begun_bytes=3 * MIB) as (door, connect):
        caller, other = await connect(), await connect()
        for number in range(40):
            registers.waiting.add(b"k%d" % number)
            caller.say(b"SET", b"k%d" % number, LARGE)
        await registers.has_been_asked(3)
        for _ in range(300):
            assert await other.ask(b"PING") == b"+PONG"
        assert registers.reads <= 4, "those behind wait in the caller's socket"
        assert all(each.held_bytes < 6 * MIB for each in door.connections())
        registers.may_answer.set()
        assert [await caller.heard() for _ in range(40)] == [b"+OK"] * 40


async def first_line(callers: list[Spoken]) -> bytes:
    """What any of them is told first."""
    hearing = [asyncio.create_task(each.heard()) for each in callers]
    done, others = await asyncio.wait(hearing, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    for each in others:
        each.cancel()
    return done.pop().result()


async def test_commands_that_do_not_come_whole_have_a_bound_for_all_callers_together() -> None:
    async with redis_door(Registers(), most_held_bytes=8 * MIB) as (door, connect):
        other = await connect()
        begun = [await connect() for _ in range(4)]
        for each in begun:
            each.writer.write(b"*9\r\n" + b"$%d\r\n%b\r\n" % (len(LARGE), LARGE) * 3)
            await each.writer.drain()
        told = await first_line(begun)
        assert sum(each.held_bytes for each in door.connections()) <= 9 * MIB
        assert await other.ask(b"PING") == b"+PONG"
        assert told.startswith(b"-ERR this connection has ") and b"%d" % (8 * MIB) in told


async def test_many_that_hold_little_each_have_the_same_bound() -> None:
    async with redis_door(Registers(), most_held_bytes=8 * MIB) as (door, connect):
        other = await connect()
        begun = [await connect() for _ in range(20)]
        for each in begun:
            each.writer.write(b"*2\r\n$4\r\nECHO\r\n$1000000\r\n%b" % (b"e" * 900_000))
            await each.writer.drain()
            assert await other.ask(b"PING") == b"+PONG"
            assert sum(each.held_bytes for each in door.connections()) <= 9 * MIB
        assert b"all together may have %d" % (8 * MIB) in await first_line(begun)


def held_by_arguments() -> int:
    traces = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, command_parser.__file__)])
    return sum(each.size for each in traces.traces)


def reset(caller: Spoken) -> None:
    """End the connection without a word; after an end in order its commands would be answered first."""
    caller.writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    caller.writer.transport.abort()


@pytest.mark.usefixtures("peak")
async def test_arguments_of_commands_that_are_answered_are_held_no_longer() -> None:
    registers = Registers()
    registers.waiting.add(b"slow")
    async with redis_door(registers) as (_, connect):
        caller, other = await connect(), await connect()
        caller.say(b"GET", b"slow")
        await registers.has_been_asked(1)
        for number in range(40):
            caller.say(b"SET", b"k%d" % number, LARGE[: MIB // 32])
        async with asyncio.timeout(20):
            while len(registers.values) < 40:
                assert await other.ask(b"PING") == b"+PONG"
        assert held_by_arguments() < MIB // 2
        registers.may_answer.set()
        assert await caller.heard() == b"$-1"


@pytest.mark.usefixtures("peak")
@pytest.mark.parametrize("how", ["alone", "among keys", "in a transaction"])
async def test_commands_of_connections_that_have_gone_have_the_same_bound(how: str) -> None:
    registers = Registers()
    value = LARGE[: MIB // 4]
    async with redis_door(registers, most_held_bytes=2 * MIB) as (door, connect):
        other = await connect()
        assert await other.ask(b"PING") == b"+PONG"
        for number in range(0, 18, 3):
            keys = [b"k%d" % each for each in range(number, number + 3)]
            registers.waiting.update(keys)
            caller = await connect()
            if how == "among keys":
                caller.say(b"MSET", *[word for key in keys for word in (key, value)])
            elif how == "alone":
                for key in keys:
                    caller.say(b"SET", key, value)
            else:
                for words in ([b"MULTI"], *[[b"SET", keys[0], value]] * 3, [b"EXEC"]):
                    caller.say(*words)
            await registers.has_been_asked(number + 3 if how != "in a transaction" else number // 3 + 1)
            reset(caller)
            while len(door.connections()) > 1 and how != "in a transaction":  # of that it is not read on
                assert await other.ask(b"PING") == b"+PONG"
        assert held_by_arguments() < 9 * MIB // 4
        registers.may_answer.set()
        assert await other.ask(b"GET", b"k15") == b"$%d" % len(value), "the last one had room, and was done"


@pytest.mark.usefixtures("peak")
@pytest.mark.parametrize("is_one", [True, False], ids=["of one command", "of several"])
async def test_answers_for_a_connection_that_has_gone_are_not_held(
    is_one: bool, caplog: pytest.LogCaptureFixture
) -> None:
    registers = large_world()
    registers.waiting.add(b"slow")
    async with redis_door(registers) as (door, connect):
        caller, other = await connect(), await connect()
        assert await other.ask(b"PING") == b"+PONG"
        before = tracemalloc.get_traced_memory()[0]
        connection = door.connections()[0]
        if is_one:
            caller.say(b"EXISTS", b"slow", b"text")
            caller.say(b"MGET", b"slow", *[b"text"] * 4)
        else:
            caller.say(b"GET", b"slow")
            caller.say(b"GET", b"text", times=4)
        async with asyncio.timeout(20):
            while connection.room.used < 3 * MIB:
                assert await other.ask(b"PING") == b"+PONG"
            reset(caller)
            while len(door.connections()) > 1:
                assert await other.ask(b"PING") == b"+PONG"
        assert connection.held_bytes < 1000
        assert tracemalloc.get_traced_memory()[0] - before < MIB
        registers.may_answer.set()
        async with asyncio.timeout(20):
            while connection.held_bytes:
                assert await other.ask(b"PING") == b"+PONG"
        assert own_records(caplog) == []


async def test_a_dropped_connection_gives_back_what_it_held_once() -> None:
    registers = Registers()
    registers.waiting.add(b"slow")
    async with redis_door(registers) as (door, connect):
        caller, other = await connect(), await connect()
        caller.say(b"GET", b"slow")
        caller.say(b"SET", b"a", LARGE)
        caller.say(b"SET", b"slow", LARGE)
        async with asyncio.timeout(20):
            while registers.reads < 2 or b"a" not in registers.values:
                assert await other.ask(b"PING") == b"+PONG"
            connection = door.connections()[0]
            reset(caller)
            while len(door.connections()) > 1:
                assert await other.ask(b"PING") == b"+PONG"
        assert MIB // 2 < connection.held_bytes < 3 * MIB // 2
        connection.drop()
        assert connection.held_bytes == 0
        registers.may_answer.set()


async def test_a_transaction_under_way_and_a_command_behind_others_are_counted() -> None:
    registers = Registers()
    registers.waiting.add(b"a")
    async with redis_door(registers) as (door, connect):
        caller, other, third = await connect(), await connect(), await connect()
        assert await caller.ask(b"MULTI") == b"+OK"
        assert await caller.ask(b"APPEND", b"a", LARGE[: MIB // 2]) == b"+QUEUED"
        caller.say(b"EXEC")
        other.say(b"GET", b"a")
        other.say(b"BITOP", b"AND", b"into", *[b"k" * 1000] * 500)
        await registers.has_been_asked(1)
        async with asyncio.timeout(20):
            while [each.held_bytes > MIB // 2 for each in door.connections()] != [True, True, False]:
                assert await third.ask(b"PING") == b"+PONG"
        registers.may_answer.set()
        assert await caller.heard() == b"*1"


async def test_connections_beyond_the_limit_are_told_and_closed() -> None:
    async with redis_door(Registers(), most_connections=5) as (_, connect):
        opened = [await connect() for _ in range(5)]
        assert await opened[0].ask(b"PING") == b"+PONG"
        refused = await connect()
        assert await refused.heard() == b"-ERR max number of clients reached"
        assert await refused.reader.read() == b""
        assert await opened[4].ask(b"PING") == b"+PONG"


async def test_connections_that_are_silent_make_room_for_others() -> None:
    registers = Registers()
    registers.waiting = {b"held"}
    async with redis_door(registers, most_connections=5, spare_s=0.1) as (door, connect):
        busy, within, known, silent, other = [await connect() for _ in range(5)]
        busy.say(b"GET", b"held")
        assert await within.ask(b"MULTI") == b"+OK"
        assert await known.ask(b"AUTH", b"token") == b"+OK"
        assert [await each.ask(b"PING") for each in (silent, other)] == [b"+PONG"] * 2
        await asyncio.sleep(0.15)
        fresh = [await connect() for _ in range(3)]
        assert [await each.ask(b"PING") for each in fresh] == [b"+PONG"] * 3
        assert [await each.reader.read() for each in (silent, other, known)] == [b""] * 3
        refused = await connect()
        assert await refused.heard() == b"-ERR max number of clients reached"
        assert len(door.connections()) == 5
        registers.may_answer.set()
        assert await busy.heard() == b"$-1" and await within.ask(b"PING") == b"+QUEUED"


async def test_half_a_command_and_then_silence_ends_the_connection() -> None:
    async with redis_door(Registers(), command_s=0.2) as (_, connect):
        caller, other = await connect(), await connect()
        caller.writer.write(b"*2\r\n$3\r\nGET\r\n$5\r\nab")
        told = await asyncio.wait_for(caller.reader.read(), 20)
        assert told == b"-ERR the end of a command has not come for 0.2 s\r\n"
        assert await other.ask(b"PING") == b"+PONG"


async def test_commands_that_had_to_wait_for_others_have_come_whole() -> None:
    async with redis_door(Registers()) as (door, connect):
        caller = await connect()
        caller.say(b"GET", b"a")
        caller.say(b"WATCH", b"a")  # waits for the answer before it, and what follows for this one
        caller.say(b"PING")
        assert [await caller.heard() for _ in range(3)] == [b"$-1", b"+OK", b"+PONG"]
        (connection,) = door.connections()
        assert connection.why_late(door.monotonic() + 31) == ""
        caller.writer.write(b"*1\r\n$4\r\nPI")
        other = await connect()
        while not connection.held_bytes:
            assert await other.ask(b"PING") == b"+PONG"
        assert "the end of a command has not come" in connection.why_late(door.monotonic() + 31)


async def test_a_value_above_the_limit_is_refused_when_its_length_is_announced() -> None:
    async with redis_door(Registers()) as (_, connect):
        caller = await connect()
        caller.writer.write(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1073741824\r\n")
        assert await caller.heard() == b"-ERR Protocol error: invalid bulk length"
        assert await caller.reader.read() == b""


class Halting(Registers):
    """Answers ten reads, and others once it may."""

    async def get(self, key: bytes, *, timeout: float) -> RegisterValue:
        if self.reads == 10:
            await self.may_answer.wait()
        return await super().get(key, timeout=timeout)


@pytest.mark.usefixtures("peak")
async def test_an_answer_that_was_taken_is_held_no_longer_while_others_of_its_key_wait() -> None:
    registers = Halting()
    registers.hold(b"text", LARGE)
    async with redis_door(registers) as (_, connect):
        caller = await connect()
        caller.say(b"GET", b"text", times=30)
        for at in range(30):
            assert len(await caller.bulk()) == len(LARGE)
            if at == 19:
                held = tracemalloc.take_snapshot().filter_traces(
                    [tracemalloc.Filter(True, replies_module.__file__)]
                )
                assert sum(each.size for each in held.traces) < 2 * MIB
                registers.may_answer.set()


async def test_memory_is_given_back_when_much_less_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back = asyncio.Event()
    monkeypatch.setattr(redis_door_module, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(redis_door_module, "_WORTH_GIVING_BACK", MIB)
    async with redis_door(Registers(), give_back=given_back.set) as (door, connect):
        begun, other = await connect(), await connect()
        begun.writer.write(b"*9\r\n" + b"$%d\r\n%b\r\n" % (len(LARGE), LARGE) * 3)
        async with asyncio.timeout(20):
            while sum(each.held_bytes for each in door.connections()) < 3 * MIB // 2:
                assert await other.ask(b"PING") == b"+PONG"
            assert not given_back.is_set()
            begun.writer.close()
            await given_back.wait()
