"""Numbers in a string that BITFIELD reads and sets, near the end of what a string may have."""

from __future__ import annotations

import pytest

from ringmill.cluster.limits import MAX_VALUE_BYTES
from tests.client.gateway.redis.redis_world import Registers, redis_door

BEHIND = b"%d" % (MAX_VALUE_BYTES * 8)


@pytest.mark.parametrize("name", [b"BITFIELD", b"BITFIELD_RO"])
async def test_fields_behind_the_longest_string_are_0_as_its_bits_are(name: bytes) -> None:
    registers = Registers()
    registers.hold(b"a", b"\xff")
    async with redis_door(registers) as (_, connect):
        caller = await connect()
        assert await caller.ask(b"GETBIT", b"a", BEHIND) == b":0"
        fields = [b"GET", b"u8", b"0", b"GET", b"u8", BEHIND, b"GET", b"i64", b"%d" % ((1 << 32) - 64)]
        assert await caller.ask(name, b"a", *fields) == b"*3"
        assert [await caller.heard() for _ in range(3)] == [b":255", b":0", b":0"]
        told = await caller.ask(name, b"a", b"GET", b"u8", b"%d" % ((1 << 32) - 7))
        assert told == b"-ERR bit offset is not an integer or out of range"


@pytest.mark.parametrize("words", [[b"SET", b"u8", BEHIND, b"1"], [b"INCRBY", b"u8", BEHIND, b"1"]])
async def test_a_field_that_no_string_has_room_for_is_not_set(words: list[bytes]) -> None:
    async with redis_door(Registers()) as (_, connect):
        assert (await (await connect()).ask(b"BITFIELD", b"a", *words)).startswith(b"-ERR string exceeds")
