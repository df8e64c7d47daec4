"""When a caller is closed because nothing comes from it, or because it takes none of its answers."""

from __future__ import annotations

import asyncio

from ringmill.client.gateway.redis.serving.lateness import Lateness
from ringmill.client.gateway.redis.serving.redis_limits import RedisLimits
from tests.client.gateway.redis.redis_world import Registers, redis_door


def why(late: Lateness, now_s: float, *, unsent: int = 0, is_amid: bool = False) -> str:
    return late.why(now_s, unsent=unsent, is_busy=False, is_amid=is_amid)


async def test_who_takes_no_answers_is_told_that_and_not_that_its_commands_have_no_end() -> None:
    registers = Registers()
    registers.hold(b"hash", {b"field": b"v" * 10_000})
    async with redis_door(registers) as (door, connect):
        deaf, other = await connect(), await connect()
        deaf.writer.transport.pause_reading()
        deaf.say(b"HGETALL", b"hash", times=2000)
        async with asyncio.timeout(20):
            while True:
                assert await other.ask(b"PING") == b"+PONG"
                connection = door.connections()[0]
                if connection.lateness.is_full and not connection._unanswered:
                    break
        assert connection.held_bytes > 0
        assert connection.why_late(door.monotonic() + 31) == ""
        assert connection.why_late(door.monotonic() + 61) == "it has taken no answer for 60 s"
        deaf.writer.transport.resume_reading()
        for _ in range(2000):
            assert await deaf.heard() == b"*2"
            assert [await deaf.bulk(), len(await deaf.bulk())] == [b"field", 10_000]
        assert connection.why_late(door.monotonic() + 31) == ""


def test_who_takes_some_of_its_answers_has_its_time_anew() -> None:
    late = Lateness(RedisLimits(), 0.0)
    late.fills(100.0, 31_000)
    assert why(late, 159.0, unsent=30_000) == ""
    assert why(late, 218.0, unsent=29_000) == ""
    assert why(late, 277.0, unsent=29_000) == ""
    assert why(late, 279.0, unsent=29_000) == "it has taken no answer for 60 s"


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
