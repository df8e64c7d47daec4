"""The requests of plain gRPC calls, of which only a part has come: each has a time, and all a bound.

gRPC makes room for a message by the length in its head, before anybody knows who sends it.  A sender that
stops halfway would keep that room.  So a request has 30 s to come whole; of more than 32 that are on their
way for a second, the oldest is refused.  gRPC for Python reads the one request of a call before it calls the
handler, so handlers are made that read it themselves.  Frames of sessions and links are not read here.

Rule F3: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import grpc

from ringmill.cluster.errors import DeadlineExceeded, ProtocolMismatch
from ringmill.cluster.wire.error_status import whole_status
from ringmill.node.services.grpc_calls.grpc_refusals import abort

__all__ = ["TimedBodies", "TimedServer"]

BODY_S: Final = 30.0
"""As a body of the HTTP door has.  Chosen, not measured."""
MOST_SLOW: Final = 32
"""Of the longest messages that gRPC takes these are 1 GiB."""
SLOW_S: Final = 1.0
"""Before that a request gives way to no other."""


class TimedBodies:
    """Makes handlers of which each waits for its request no longer than it may."""

    def __init__(self) -> None:
        self._on_their_way: dict[asyncio.Timeout, float] = {}  # oldest first: from when each is a slow one

    def handlers(self, handlers: Mapping[str, grpc.RpcMethodHandler]) -> dict[str, grpc.RpcMethodHandler]:
        """The same methods, of which those with one request wait for it here."""
        return {name: self._timed(handler) for name, handler in handlers.items()}

    def of_each(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """A method with many requests, for each of which it waits here."""

        async def answer(_: object, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            async for each in handler.stream_stream(self._each(context), context):
                yield each

        return grpc.stream_stream_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )

    def _timed(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        if handler.request_streaming:
            return handler
        codec = (handler.request_deserializer, handler.response_serializer)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._answers(handler.unary_stream), *codec)
        return grpc.stream_unary_rpc_method_handler(self._answer(handler.unary_unary), *codec)

    def _answer(self, method: Any) -> Any:
        async def answer(_: object, context: grpc.aio.ServicerContext) -> Any:
            return await method(await self._whole(context), context)

        return answer

    def _answers(self, method: Any) -> Any:
        async def answer(_: object, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            answers = method(await self._whole(context), context)
            if not hasattr(answers, "__aiter__"):
                await answers  # it writes them itself
                return
            async for each in answers:
                yield each

        return answer

    async def _whole(self, context: grpc.aio.ServicerContext) -> Any:
        """The one request of a call, which is ended when it does not come."""
        body = await self._next(context)
        if body is grpc.aio.EOF:
            return await abort(context, whole_status(ProtocolMismatch("a call came without a request")))
        return body

    async def _each(self, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        while (body := await self._next(context)) is not grpc.aio.EOF:
            yield body

    async def _next(self, context: grpc.aio.ServicerContext) -> Any:
        scope = asyncio.timeout(BODY_S)
        try:
            async with scope:
                self._has_begun(scope)
                return await context.read()
        except TimeoutError:
            pass  # the call is not ended here: what is raised now would be kept with it
        finally:
            self._on_their_way.pop(scope, None)
        late = f"no whole request came within {BODY_S:g} s, or too many others were on their way, too"
        return await abort(context, whole_status(DeadlineExceeded(late, outcome="failed")))

    def _has_begun(self, scope: asyncio.Timeout) -> None:
        now_s = asyncio.get_running_loop().time()
        if len(self._on_their_way) >= MOST_SLOW:
            oldest, is_slow_at_s = next(iter(self._on_their_way.items()))
            if is_slow_at_s <= now_s:
                del self._on_their_way[oldest]
                oldest.reschedule(now_s)
        self._on_their_way[scope] = now_s + SLOW_S


class TimedServer:
    """What gRPC's own services are added to, so that their requests are timed as well."""

    def __init__(self, server: grpc.aio.Server, bodies: TimedBodies) -> None:
        self._server = server
        self._bodies = bodies

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Nothing: they are the same methods, for a look-up that gRPC makes only where none is registered."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler]
    ) -> None:
        """Have the server answer these methods."""
        timed = self._bodies.handlers(handlers)
        for name, each in handlers.items():
            if each.request_streaming:
                timed[name] = self._bodies.of_each(each)
        self._server.add_registered_method_handlers(service, timed)
