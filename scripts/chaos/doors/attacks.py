"""What hostile callers do to the doors.  Each attack ends by itself and returns what they were told.

A door closes what is too slow after 10 to 60 s (docs/http.md, docs/redis.md), so most attacks take that long.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from chaos.doors.beside import Place
from chaos.doors.callers import drained, first_lines, opened
from ringmill.cluster.limits import MAX_VALUE_BYTES

__all__ = ["ATTACKS", "LARGE", "MOST_CONNECTIONS", "TINY", "prepared"]

MOST_CONNECTIONS: Final = 1000
LARGE: Final = b"v" * (MAX_VALUE_BYTES - 100)
TINY: Final = 20_000
_HOST: Final = b"Host: localhost\r\n"
_GIB: Final = 1 << 30
_GET: Final = b"GET /v1/kv/default/large HTTP/1.1\r\n" + _HOST + b"\r\n"
Answers = Counter[str]
Attack = Callable[[Place], Awaitable[Answers]]


def command(*words: bytes) -> bytes:
    """As clients of Redis send it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


async def prepared(place: Place) -> None:
    """Keys that are large, at both doors.  Raises ValueError when they cannot be put."""
    async with opened(place.http, 1) as [(reader, writer)]:
        head = b"PUT /v1/kv/default/large HTTP/1.1\r\n" + _HOST + b"Content-Length: %d\r\n\r\n" % len(LARGE)
        writer.write(head + LARGE)
        if b" 200 " not in await reader.readline():
            raise ValueError("the large key could not be put")
    async with opened(place.redis, 1) as [(reader, writer)]:
        members = [b"%06d" % number for number in range(TINY)]
        writer.write(command(b"SET", b"large", LARGE) + command(b"SADD", b"tiny", *members))
        writer.write(command(b"SADD", b"wide", LARGE) + command(b"RPUSH", b"list", *members))
        for _ in range(4):
            if not (await reader.readline()).startswith((b"+", b":")):
                raise ValueError("the large keys could not be set")


async def slow_heads(place: Place) -> Answers:
    """200 callers send a byte of a request each second, 300 one half of it and no more."""
    async with opened(place.http, 500) as connections:
        for _, writer in connections[200:]:
            writer.write(b"GET /v1/kv/default/large HTTP/1.1\r\nHo")
        answers = asyncio.create_task(first_lines(connections))
        for byte in b"GET /v1/kv/def":
            for _, writer in connections[:200]:
                writer.write(bytes([byte]))
            await asyncio.sleep(1.0)
        return await answers


async def half_bodies(place: Place) -> Answers:
    """200 callers send half a value, and no more."""
    async with opened(place.http, 200) as connections:
        for _, writer in connections:
            head = (
                b"PUT /v1/kv/default/half HTTP/1.1\r\n" + _HOST + b"Content-Length: %d\r\n\r\n" % len(LARGE)
            )
            writer.write(head + LARGE[: len(LARGE) // 2])
        return await first_lines(connections)


async def idle_over_http(place: Place) -> Answers:
    """1,000 connections that say nothing."""
    async with opened(place.http, MOST_CONNECTIONS) as connections:
        return await first_lines(connections)


async def gib_bodies(place: Place) -> Answers:
    """A body of 1 GiB, its length told, and another in pieces."""
    async with opened(place.http, 2) as connections:
        whole, pieces = (writer for _, writer in connections)
        whole.write(b"PUT /v1/kv/default/gib HTTP/1.1\r\n" + _HOST + b"Content-Length: %d\r\n\r\n" % _GIB)
        pieces.write(b"PUT /v1/kv/default/gib HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n")
        hearing = asyncio.create_task(first_lines(connections))
        for writer in (whole, pieces):
            for _ in range(_GIB >> 20):
                writer.write((b"100000\r\n" if writer is pieces else b"") + b"v" * (1 << 20) + b"\r\n")
                if not await drained(writer, 5.0):
                    break
        return await hearing


async def pipelined_over_http(place: Place) -> Answers:
    """Ten callers send 10,000 reads of 1 MiB each, and take no answer for 35 s."""
    async with opened(place.http, 10, reads=False) as connections:
        for _, writer in connections:
            writer.write(_GET * 10_000)
        await asyncio.sleep(35.0)
        for _, writer in connections:
            writer.transport.resume_reading()  # type: ignore[attr-defined]
        return await first_lines(connections)


async def large_batches(place: Place) -> Answers:
    """30 batches of 1,000 reads of 1 MiB."""
    one = b'{"op": "get", "key": "large"}'
    body = b'{"operations": [' + b", ".join([one] * 1000) + b"]}"
    head = b"POST /v1/kv/default:batch HTTP/1.1\r\n" + _HOST + b"Content-Length: %d\r\n\r\n" % len(body)
    async with opened(place.http, 30) as connections:
        for _, writer in connections:
            writer.write(head + body)
        return await first_lines(connections)


async def half_commands(place: Place) -> Answers:
    """60 callers send 7 MiB of a command, and no more: 420 MiB in all."""
    async with opened(place.redis, 60) as connections:
        hearing = asyncio.create_task(first_lines(connections))
        for _, writer in connections:
            writer.write(b"*9\r\n" + (b"$%d\r\n%b\r\n" % (len(LARGE), LARGE)) * 7)
            await drained(writer, 10.0)
        return await hearing


async def idle_as_redis(place: Place) -> Answers:
    """1,000 connections that say nothing, 100 of them after half a command."""
    async with opened(place.redis, MOST_CONNECTIONS) as connections:
        for _, writer in connections[:100]:
            writer.write(b"*2\r\n$3\r\nGE")
        return await first_lines(connections[:100] + connections[-10:])


async def gib_value(place: Place) -> Answers:
    """A value of 1 GiB, and a command of 9 MiB."""
    async with opened(place.redis, 2) as connections:
        (_, gib), (_, many) = connections
        gib.write(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n" % _GIB)
        many.write(command(b"MSET", *[LARGE] * 9))
        hearing = asyncio.create_task(first_lines(connections))
        for writer in (gib, many):
            await drained(writer, 10.0)
        return await hearing


async def answers_of_gibs(place: Place) -> Answers:
    """Commands whose answers would have 1 GiB to 64 GiB, from five callers at once."""
    asked = [
        command(b"MGET", *[b"large"] * 10_000),
        command(b"SRANDMEMBER", b"wide", b"-65536"),
        command(b"SRANDMEMBER", b"wide", b"-1048576"),
        command(b"SUNION", *[b"tiny"] * 10_000),
        command(b"SUNIONSTORE", b"into", *[b"tiny"] * 10_000),
    ]
    async with opened(place.redis, len(asked)) as connections:
        for (_, writer), said in zip(connections, asked, strict=True):
            writer.write(said)
        return await first_lines(connections)


async def pipelined_as_redis(place: Place) -> Answers:
    """Twenty callers send 10,000 commands with answers of up to 1 MiB, and take none for 20 s."""
    said = (
        command(b"GET", b"large") + command(b"SMEMBERS", b"tiny") + command(b"LRANGE", b"list", b"0", b"-1")
    )
    async with opened(place.redis, 20, reads=False) as connections:
        for _, writer in connections:
            writer.write(said * 3333)
        await asyncio.sleep(20.0)
        for _, writer in connections:
            writer.transport.resume_reading()  # type: ignore[attr-defined]
        return await first_lines(connections)


ATTACKS: Final[dict[str, Attack]] = {
    "HTTP: slow heads, half heads": slow_heads,
    "HTTP: half bodies": half_bodies,
    "HTTP: 1,000 idle": idle_over_http,
    "HTTP: bodies of 1 GiB": gib_bodies,
    "HTTP: 10,000 pipelined, unread": pipelined_over_http,
    "HTTP: batches of 1 GiB": large_batches,
    "Redis: half commands": half_commands,
    "Redis: 1,000 idle": idle_as_redis,
    "Redis: a value of 1 GiB": gib_value,
    "Redis: answers of GiBs": answers_of_gibs,
    "Redis: 10,000 pipelined, unread": pipelined_as_redis,
}
