"""A connection of Redis's protocol from its beginning to its end; no cluster is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.redis.redis_door import RedisDoor
from ringmill.client.gateway.redis.serving.redis_limits import RedisLimits
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock

PING = b"*1\r\n$4\r\nPING\r\n"
ECHO = b"*2\r\n$4\r\nECHO\r\n$1000\r\n%b\r\n" % (b"e" * 1000)


@asynccontextmanager
async def redis_door(limits: RedisLimits | None = None) -> AsyncIterator[int]:
    """The port of a door that ends with the test."""

    def connect(token: str) -> AsyncClient:
        return AsyncClient(["127.0.0.1:1"], 1.0, token, True, finds_token=False)

    clients = ClientsByToken(connect)
    door = RedisDoor(
        *("127.0.0.1", 0, clients),
        clock=SystemClock(),
        entropy=OsEntropy(),
        timeout_s=1.0,
        limits=limits,
    )
    place = await door.open()
    try:
        yield int(place.rpartition(":")[2])
    finally:
        await door.close(1.0)
        await clients.aclose()


async def told(port: int, said: bytes, *, and_ends: bool = False) -> bytes:
    """All that comes until the door closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    if and_ends:
        writer.write_eof()
    answers = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answers


@pytest.mark.parametrize(
    ("said", "answers"),
    [
        (PING + b"QUIT\r\n" + PING, b"+PONG\r\n+OK\r\n"),
        (PING + b"*1\r\n$x\r\n" + PING, b"+PONG\r\n-ERR Protocol error: invalid bulk length\r\n"),
    ],
)
async def test_what_ends_a_connection_is_reported_behind_what_came_before(
    said: bytes, answers: bytes
) -> None:
    async with redis_door() as port:
        assert await told(port, said) == answers


async def test_a_page_in_a_browser_has_no_command_run() -> None:
    """As fetch("http://127.0.0.1:6379/", {method: "POST", mode: "no-cors", body: "PING"}) sends it."""
    body = b"PING\r\n" * 3
    head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with redis_door() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        writer.write(body)
        heard = b""
        with contextlib.suppress(ConnectionError):
            while part := await asyncio.wait_for(reader.read(1 << 16), 20):
                heard += part
        writer.close()
        assert heard == b""


async def test_a_caller_that_has_said_all_gets_every_answer() -> None:
    async with redis_door() as port:
        assert await told(port, PING * 5000, and_ends=True) == b"+PONG\r\n" * 5000


async def test_one_that_takes_no_answers_is_read_no_further_and_gets_them_all_later() -> None:
    async with redis_door() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(ECHO * 40_000)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(writer.drain(), 0.5)  # more than the system's buffers hold is not taken
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        writer.write_eof()
        taken = 0
        while part := await asyncio.wait_for(reader.read(1 << 20), 20):
            taken += len(part)
        assert taken == 40_000 * len(b"$1000\r\n%b\r\n" % (b"e" * 1000))
        writer.close()


async def test_a_connection_beyond_the_limit_is_told_so() -> None:
    async with redis_door(RedisLimits(most_connections=1)) as port:
        _, first = await asyncio.open_connection("127.0.0.1", port)
        assert await told(port, PING) == b"-ERR max number of clients reached\r\n"
        first.close()
