"""INFO tells what has expired, whoever removed it."""

from __future__ import annotations

from typing import Any

from ringmill.client.gateway.redis.store.typed_values import Entry
from tests.client.gateway.redis.redis_world import Registers, redis_door


async def figures_of(caller: Any) -> dict[bytes, bytes]:
    caller.say(b"INFO", b"stats")
    lines = (await caller.bulk()).splitlines()
    return dict(line.split(b":") for line in lines if b":" in line)


async def test_it_counts_what_is_removed_and_what_is_written_over() -> None:
    registers = Registers()
    async with redis_door(registers) as (_, connect):
        caller = await connect()
        for key in (b"read", b"written"):
            registers.values[key] = (Entry(b"v", 1).encode(), 1)
        assert (await figures_of(caller))[b"expired_keys"] == b"0"
        assert await caller.ask(b"GET", b"read") == b"$-1"
        assert await caller.ask(b"SET", b"written", b"w") == b"+OK"
        assert await caller.ask(b"SET", b"written", b"x") == b"+OK"
        figures = await figures_of(caller)
        assert figures[b"expired_keys"] == b"2"
        assert (figures[b"swept_keys"], figures[b"sweep_last_round_ended"]) == (b"0", b"0")
        assert await caller.ask(b"CONFIG", b"RESETSTAT") == b"+OK"
        assert (await figures_of(caller))[b"expired_keys"] == b"0"
