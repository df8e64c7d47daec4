"""The client of the floor: one stream of frames a node, of what has gathered in four turns of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

import grpc
from xxhash import xxh3_64_intdigest

from ringmill.cluster.wire.frames import Operation, decode_answers, encode_operations
from stores.gathered import Gathered

__all__ = ["FloorClient"]

METHOD = "/floor/Frames"


class FloorClient:
    """Keys are spread over the nodes by their hash, as the product does.  Connected while it is entered."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._links = [_Link(endpoint) for endpoint in endpoints]
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> FloorClient:
        for link in self._links:
            await self._stack.enter_async_context(link)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def store(self, asked: dict[str, Any]) -> FloorClient:
        return self

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        return (grpc.aio.AioRpcError,)

    async def put(self, key: bytes, value: bytes) -> None:
        await self._link(key).ask("put", key + value)

    async def get(self, key: bytes) -> bytes | None:
        return await self._link(key).ask("get", key) or None

    async def modify(self, key: bytes, value: bytes) -> None:
        await self.get(key)
        await self.put(key, value)

    def _link(self, key: bytes) -> _Link:
        return self._links[xxh3_64_intdigest(key) % len(self._links)]


class _Link:
    def __init__(self, address: str) -> None:
        self._address = address
        self._outbox: Gathered[Operation] = Gathered()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._last = 0

    async def __aenter__(self) -> _Link:
        self._channel = grpc.aio.insecure_channel(self._address)
        await self._channel.channel_ready()
        self._rpc: Any = self._channel.stream_stream(METHOD)()
        writing = self._outbox.run(encode_operations, self._rpc.write)
        self._tasks = [asyncio.create_task(writing), asyncio.create_task(self._read())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._rpc.cancel()
        await self._channel.close()

    def ask(self, method: str, body: bytes) -> asyncio.Future[bytes]:
        self._last += 1
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[self._last] = future
        self._outbox.add(((self._last, method, 5_000_000, 1, body),))
        return future

    async def _read(self) -> None:
        while (message := await self._rpc.read()) is not grpc.aio.EOF:
            answers, _ = decode_answers(message)
            for answer in answers:
                self._waiting.pop(answer[0]).set_result(answer[1])
        raise SystemExit(f"{self._address} has ended the stream")
