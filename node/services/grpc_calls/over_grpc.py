"""Serves tables of services over gRPC: bytes in, bytes out, errors as statuses.

gRPC counts the deadline of a call from its arrival, so a caller that knows this node's clock also sends the
time until which it waits (node/services/grpc_calls/waiting.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TypeAlias

import grpc

from ringmill.cluster.ports import Clock
from ringmill.node.services.grpc_calls.grpc_abort import abort_with
from ringmill.node.services.grpc_calls.waiting import seconds_left, tell_clock
from ringmill.node.services.table import Call, Method, Service, Stream, Unary, Upload

__all__ = ["GrpcHandlers", "grpc_handlers"]

GrpcHandlers: TypeAlias = Mapping[str, dict[str, grpc.RpcMethodHandler]]
"""By service and method, as `grpc.aio.Server.add_registered_method_handlers` takes them."""


def grpc_handlers(tables: Iterable[Service], clock: Clock) -> GrpcHandlers:
    """The handlers of each service."""
    return {
        service.name: {
            name: _handler(method, f"{service.name}/{name}", clock)
            for name, method in service.methods.items()
        }
        for service in tables
    }


def _handler(method: Method, name: str, clock: Clock) -> grpc.RpcMethodHandler:
    if isinstance(method, Unary):
        return _unary(method, name, clock)
    return _upload(method, name, clock) if isinstance(method, Upload) else _stream(method, name, clock)


def _unary(method: Unary, name: str, clock: Clock) -> grpc.RpcMethodHandler:
    async def answer(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            call = _call(context, clock, body)
            if method.tells_clock:
                await tell_clock(context, clock)
            return await method.run(body, call)
        except Exception as error:  # noqa: BLE001  the boundary: whatever it is, the caller hears of it
            await abort_with(context, error, name)

    return grpc.unary_unary_rpc_method_handler(answer)


def _upload(method: Upload, name: str, clock: Clock) -> grpc.RpcMethodHandler:
    async def answer(bodies: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
        try:
            return await method.run(bodies, _call(context, clock))
        except Exception as error:  # noqa: BLE001  the boundary: whatever it is, the caller hears of it
            await abort_with(context, error, name)

    return grpc.stream_unary_rpc_method_handler(answer)


def _stream(method: Stream, name: str, clock: Clock) -> grpc.RpcMethodHandler:
    async def answer(body: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        try:
            async for each in method.run(body, _call(context, clock, body)):
                yield each
        except Exception as error:  # noqa: BLE001  the boundary: whatever it is, the caller hears of it
            await abort_with(context, error, name)

    return grpc.unary_stream_rpc_method_handler(answer)


def _call(context: grpc.aio.ServicerContext, clock: Clock, body: bytes = b"") -> Call:
    told = context.invocation_metadata() or ()
    metadata = {key: value for key, value in reversed(told) if isinstance(value, str)}
    return Call(seconds_left(context, clock), metadata, body, context.peer())
