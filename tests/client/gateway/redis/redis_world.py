"""A door for clients of Redis before registers that are a dict, and a caller that speaks bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.protection.caller_limits import CallerLimits
from ringmill.client.gateway.redis.redis_door import RedisDoor
from ringmill.client.gateway.redis.serving.redis_limits import RedisLimits
from ringmill.client.gateway.redis.store.typed_values import Entry, RedisValue
from ringmill.client.registers.registers import RegisterValue
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Conflict, PermissionDenied

__all__ = ["Registers", "Spoken", "lending", "redis_door"]


class Registers:
    """Holds values by key.  Reads of keys in `waiting` wait for `may_answer`."""

    def __init__(self) -> None:
        self.values: dict[bytes, tuple[bytes | None, int]] = {}
        self.may_answer = asyncio.Event()
        self.waiting: set[bytes] = set()
        self.reads = 0
        self.has_read = asyncio.Condition()
        self.registers = SimpleNamespace(keyspace=lambda name: self, get=self._checked)
        self.needs_token = False  # and no caller has one

    async def _checked(self, key: bytes) -> None:
        if self.needs_token:
            raise PermissionDenied("a token is required")

    def hold(self, key: bytes, value: RedisValue) -> None:
        self.values[key] = (Entry(value).encode(), 1)

    async def get(self, key: bytes, *, timeout: float) -> RegisterValue:
        async with self.has_read:
            self.reads += 1
            self.has_read.notify_all()
        if key in self.waiting:
            await self.may_answer.wait()
        return RegisterValue(*self.values.get(key, (None, 0)))

    async def has_been_asked(self, times: int) -> None:
        """Wait for this many reads."""
        async with self.has_read:
            await asyncio.wait_for(self.has_read.wait_for(lambda: self.reads >= times), 20)

    async def cas(self, key: bytes, value: bytes | None, *, timeout: float, **expected: Any) -> int:
        held, version = self.values.get(key, (None, 0))
        if expected not in ({"expect": held}, {"expect_version": version}):
            raise Conflict("the register holds something else")
        self.values[key] = (value, version + 1)
        return version + 1

    def keyspace(self, name: str) -> Registers:
        return self

    async def put(self, key: bytes, value: bytes, *, timeout: float) -> None:
        """The names of keys are not looked at."""

    async def __aenter__(self) -> Registers:
        return self

    async def aclose(self) -> None:
        """Nothing is open."""


@asynccontextmanager
async def lending(registers: Registers) -> AsyncIterator[AsyncClient]:
    """As `ClientsByToken.lend`."""
    yield cast("AsyncClient", registers)


class Spoken:
    """A connection, and what is said on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, *words: bytes, times: int = 1) -> None:
        told = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
        self.writer.write((b"*%d\r\n" % len(words) + told) * times)

    async def heard(self) -> bytes:
        """The next line of what is answered."""
        return (await asyncio.wait_for(self.reader.readline(), 30)).rstrip(b"\r\n")

    async def bulk(self) -> bytes:
        """The next bulk string."""
        line = await self.heard()
        return (await self.reader.readexactly(int(line[1:]) + 2))[:-2]

    async def ask(self, *words: bytes) -> bytes:
        self.say(*words)
        return await self.heard()


@asynccontextmanager
async def redis_door(
    registers: Registers,
    *,
    give_back: Callable[[], None] | None = None,
    callers: CallerLimits | None = None,
    **limits: Any,
) -> AsyncIterator[tuple[RedisDoor, Any]]:
    """The door, and what opens a connection to it."""
    clients = ClientsByToken(lambda token: cast("AsyncClient", registers))
    door = RedisDoor(
        "127.0.0.1", 0, clients, clock=SystemClock(), entropy=OsEntropy(), timeout_s=20.0,
        limits=RedisLimits(**limits), give_back=give_back, callers=callers,
    )  # fmt: skip
    port = int((await door.open()).rpartition(":")[2])
    opened: list[Spoken] = []

    async def connect() -> Spoken:
        opened.append(Spoken(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)))
        return opened[-1]

    try:
        yield door, connect
    finally:
        for each in opened:
            each.writer.close()
        await door.close(1.0)
        await clients.aclose()
