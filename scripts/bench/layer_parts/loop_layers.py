"""Layers that wait: futures, deadlines, and a message of gRPC on loopback, both ends in this process.

Tasks, timers and events are there to compare with: no put and no get makes one of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from layer_parts.layer import GET_CALLS, PUT_CALLS, Layer
from ringmill.cluster.deadline_wheel import DeadlineWheel

__all__ = ["grpc_layers", "loop_layers"]

METHOD = "/bench/Echo"
FRAME_BYTES = 1_000
GROUP = 64


class _Entry:
    def expire(self) -> None:
        """It may, while another layer is measured."""


async def _nothing() -> None:
    return


def loop_layers() -> list[Layer]:
    async def task() -> None:
        await asyncio.create_task(_nothing())

    async def timeout() -> None:
        async with asyncio.timeout(5):
            await _nothing()

    async def future() -> None:
        loop = asyncio.get_running_loop()
        waiting = loop.create_future()
        loop.call_soon(waiting.set_result, None)
        await waiting

    async def future_and_timer() -> None:
        loop = asyncio.get_running_loop()
        waiting = loop.create_future()
        timer = loop.call_later(5, waiting.cancel)
        loop.call_soon(waiting.set_result, None)
        await waiting
        timer.cancel()

    wheel = DeadlineWheel()
    under_way = deque([(entry, wheel.add(entry, 5)) for entry in (_Entry() for _ in range(64))])

    def deadline() -> None:
        entry, bucket = under_way.popleft()
        bucket.take_out(entry)
        under_way.append((entry, wheel.add(entry, 5)))

    async def event() -> None:
        happened = asyncio.Event()
        asyncio.get_running_loop().call_soon(happened.set)
        await happened.wait()

    return [
        Layer("loop: a future, awaited", 1, 1, async_work=future),
        Layer("loop: a deadline on the wheel", 1 + PUT_CALLS, 1 + GET_CALLS, deadline),
        Layer("loop: a task, awaited", 0, 0, async_work=task),
        Layer("loop: asyncio.timeout", 0, 0, async_work=timeout),
        Layer("loop: a future with a timer", 0, 0, async_work=future_and_timer),
        Layer("loop: an event", 0, 0, async_work=event),
    ]


@asynccontextmanager
async def grpc_layers(port: int) -> AsyncIterator[list[Layer]]:
    """One message there and back on a stream: `puts` counts messages of all nodes at 64 in flight, so half of
    them go each way."""

    async def echo(_: Any, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(message)

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", {"Echo": handler}),))
    address = f"127.0.0.1:{port}"
    server.add_insecure_port(address)
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        rpc = channel.stream_stream(METHOD)()
        body = bytes(FRAME_BYTES)

        async def there_and_back() -> None:
            await rpc.write(body)
            await rpc.read()

        await there_and_back()
        yield [
            Layer(
                f"grpc: a message of {FRAME_BYTES} B, both ends",
                0.78,
                0.88,
                async_work=there_and_back,
                each=2,
            )
        ]
        await rpc.done_writing()
    await server.stop(None)
