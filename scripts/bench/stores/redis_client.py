"""A client of Redis on one connection: commands are written as they come, answers matched in order.

What is in flight together is a pipeline, as the protocol is made for: a lower bound of what a client costs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Any, cast

__all__ = ["RedisClient", "RedisFailed"]


class RedisFailed(Exception):
    """An error that Redis has answered with, or a connection that is gone."""


class RedisClient(asyncio.Protocol):
    """Connected while it is entered."""

    failures = (RedisFailed,)

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self._address = host, int(port)
        self._waiting: deque[asyncio.Future[bytes | None]] = deque()
        self._received = b""
        self._transport: asyncio.Transport | None = None

    async def __aenter__(self) -> RedisClient:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, *self._address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._transport is not None:
            self._transport.close()

    def store(self, asked: dict[str, Any]) -> RedisClient:
        return self

    async def put(self, key: bytes, value: bytes) -> None:
        await self._ask(b"*3\r\n$3\r\nSET\r\n%b%b" % (_bulk(key), _bulk(value)))

    async def get(self, key: bytes) -> bytes | None:
        return await self._ask(b"*2\r\n$3\r\nGET\r\n%b" % _bulk(key))

    async def modify(self, key: bytes, value: bytes) -> None:
        await self.get(key)
        await self.put(key, value)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        while self._waiting:
            self._waiting.popleft().set_exception(RedisFailed("the connection is gone"))

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        at = 0
        while (taken := _answer(received, at)) is not None:
            answer, at = taken
            future = self._waiting.popleft()
            if isinstance(answer, RedisFailed):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        self._received = received[at:]

    async def _ask(self, command: bytes) -> bytes | None:
        if self._transport is None or self._transport.is_closing():
            raise RedisFailed("the connection is gone")
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._transport.write(command)
        return await future


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _answer(received: bytes, at: int) -> tuple[bytes | RedisFailed | None, int] | None:
    """The answer that begins at a byte and where the next one does; None while it is not whole."""
    end = received.find(b"\r\n", at)
    if end < 0:
        return None
    kind, line, after = received[at : at + 1], received[at + 1 : end], end + 2
    if kind == b"-":
        return RedisFailed(line.decode()), after
    if kind != b"$":
        return line, after
    size = int(line)
    if size < 0:
        return None, after
    if len(received) < after + size + 2:
        return None
    return received[after : after + size], after + size + 2
