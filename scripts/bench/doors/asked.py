"""What the doors are asked for, and what each of them asks of the cluster for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.redis.store.typed_values import Entry

__all__ = ["KEYS", "REGISTERS", "VALUE", "Verb", "key_of", "verbs_of"]

KEYS: Final = 2000
REGISTERS: Final = "redis0"
VALUE: Final = b"v" * 100

Verb: TypeAlias = Callable[[bytes], Awaitable[object]]


def key_of(number: int) -> bytes:
    """From 0 to KEYS - 1."""
    return b"k%d" % number


def verbs_of(client: AsyncClient) -> dict[str, Verb]:
    """What a door asks of the cluster for each verb of its callers."""
    space, registers = client.keyspace("default"), client.registers.keyspace(REGISTERS)
    entry = Entry(VALUE).encode()

    async def put(key: bytes) -> object:
        return await space.put(key, VALUE)

    async def redis_set(key: bytes) -> object:
        found = await registers.get(key)
        return await registers.cas(key, entry, expect_version=found.version)

    return {"http get": space.get, "http put": put, "redis get": registers.get, "redis set": redis_set}
