"""Layers that wait: tasks, timers, events, and a message of gRPC on loopback, both ends in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from layer_parts.layer import Layer

__all__ = ["grpc_layers", "loop_layers"]

METHOD = "/bench/Echo"
FRAME_BYTES = 1_000
GROUP = 64


async def _nothing() -> None:
    return


def loop_layers() -> list[Layer]:
    async def task() -> None:
        await asyncio.create_task(_nothing())

    async def timeout() -> None:
        async with asyncio.timeout(5):
            await _nothing()

    async def future_and_timer() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        timer = loop.call_later(5, future.cancel)
        loop.call_soon(future.set_result, None)
        await future
        timer.cancel()

    async def event() -> None:
        happened = asyncio.Event()
        asyncio.get_running_loop().call_soon(happened.set)
        await happened.wait()

    return [
        Layer("loop: a task, awaited", 6, 4, async_work=task),
        Layer("loop: asyncio.timeout", 2, 2, async_work=timeout),
        Layer("loop: a future with a timer", 3, 2, async_work=future_and_timer),
        Layer("loop: an event", 2, 1, async_work=event),
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
