"""When a caller is closed because nothing comes from it, or because it takes none of its answers."""

from __future__ import annotations

import asyncio
import socket

from ringmill.client.gateway.redis.serving.lateness import Lateness, untaken_bytes
from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection
from ringmill.client.gateway.redis.serving.redis_limits import RedisLimits
from tests.client.gateway.redis.redis_world import Registers, redis_door


def why(late: Lateness, now_s: float, *, untaken: int = 0, is_amid: bool = False) -> str:
    return late.why(now_s, untaken=untaken, is_busy=False, is_amid=is_amid)


async def nothing_is_taken(connection: RedisConnection) -> None:
    """Wait until it is full, and all has been sent that its caller's socket takes."""
    transport = connection._transport
    assert transport is not None
    former = -1
    async with asyncio.timeout(20):
        while not connection.lateness.is_full or connection._unanswered or former != untaken_bytes(transport):
            former = untaken_bytes(transport)
            await asyncio.sleep(0.05)


async def test_whoever_takes_no_answers_is_told_that_and_not_that_its_commands_have_no_end() -> None:
    registers = Registers()
    registers.hold(b"hash", {b"field": b"v" * 10_000})
    async with redis_door(registers) as (door, connect):
        deaf, other = await connect(), await connect()
        deaf.writer.transport.pause_reading()
        deaf.say(b"HGETALL", b"hash", times=2000)
        assert await other.ask(b"PING") == b"+PONG"
        connection = door.connections()[0]
        await nothing_is_taken(connection)
        assert connection.held_bytes > 0
        assert connection.why_late(door.monotonic()) == ""
        assert connection.why_late(door.monotonic() + 31) == ""
        assert connection.why_late(door.monotonic() + 61) == "it has taken no answer for 60 s"
        deaf.writer.transport.resume_reading()
        for _ in range(2000):
            assert await deaf.heard() == b"*2"
            assert [await deaf.bulk(), len(await deaf.bulk())] == [b"field", 10_000]
        assert connection.why_late(door.monotonic() + 31) == ""


async def test_whoever_takes_little_is_seen_to_take_it_before_the_system_wants_more_answers() -> None:
    registers = Registers()
    registers.hold(b"hash", {b"field": b"v" * 10_000})
    async with redis_door(registers) as (door, connect):
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(door._server.sockets[0].getsockname())  # type: ignore[union-attr]
            slow.setblocking(False)
            words = b"*2\r\n$7\r\nHGETALL\r\n$4\r\nhash\r\n"
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(slow, words * 1000)
            assert await (await connect()).ask(b"PING") == b"+PONG"
            connection = door.connections()[0]
            await nothing_is_taken(connection)
            assert connection.why_late(door.monotonic()) == ""
            unsent, taken = connection._unsent(), 0
            while taken < 100_000:
                taken += len(await loop.sock_recv(slow, 100_000))
            assert connection._unsent() == unsent
            assert connection.why_late(door.monotonic() + 61) == ""
            assert connection.why_late(door.monotonic() + 122) == "it has taken no answer for 60 s"


def test_whoever_takes_some_of_its_answers_has_its_time_anew() -> None:
    late = Lateness(RedisLimits(), 0.0)
    late.fills(100.0, 31_000)
    assert why(late, 159.0, untaken=30_000) == ""
    assert why(late, 218.0, untaken=29_000) == ""
    assert why(late, 277.0, untaken=29_000) == ""
    assert why(late, 279.0, untaken=29_000) == "it has taken no answer for 60 s"


def test_half_a_command_has_its_time_from_when_more_of_it_could_come() -> None:
    late = Lateness(RedisLimits(), 0.0)
    late.active_s = 10.0
    assert why(late, 39.0, is_amid=True) == ""
    assert why(late, 41.0, is_amid=True) == "the end of a command has not come for 30 s"
    late.reads_on(40.0)
    assert why(late, 69.0, is_amid=True) == ""
    assert why(late, 71.0, is_amid=True) == "the end of a command has not come for 30 s"
    assert why(late, 3609.0) == ""
    assert why(late, 3611.0) == "no command for 3600 s"
