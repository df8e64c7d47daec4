"""The requests of plain gRPC calls, of which only a part has come: each has a time, and all a bound.

gRPC makes room for a message by the length in its head, before anybody knows who sends it.  A sender that
stops halfway would keep that room.  So a request has 30 s to come whole; of those that are on their way for
a second 32 may be, and the oldest beyond are refused.  gRPC for Python reads the one request of a call before
it calls the handler, so handlers are made that read it themselves.  Frames of sessions and links are not read
here.

Rule F3: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import math
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import grpc

from ringmill.cluster.errors import DeadlineExceeded, Overloaded, ProtocolMismatch, RingmillError
from ringmill.cluster.wire.error_status import whole_status
from ringmill.node.services.grpc_calls.grpc_refusals import abort

__all__ = ["TimedBodies", "TimedServer"]

BODY_S: Final = 30.0
"""A body of the HTTP door has as much.  Chosen, not measured."""
MOST_SLOW: Final = 32
"""At the longest message that gRPC takes, this many are 1 GiB."""
SLOW_S: Final = 1.0
"""Before that a request gives way to no other."""
_READ_WITHIN_S: Final = 0.1
"""What has come while this process stood still is read in this time, before anything is ended."""


class TimedBodies:
    """Makes handlers of which each waits for its request no longer than it may."""

    def __init__(self) -> None:
        self._on_their_way: dict[grpc.aio.ServicerContext, float] = {}  # since when; oldest first
        self._looks_at_s = math.inf
        self._look: asyncio.TimerHandle | None = None
        self._ends: set[asyncio.Task[None]] = set()

    def handlers(self, handlers: Mapping[str, grpc.RpcMethodHandler]) -> dict[str, grpc.RpcMethodHandler]:
        """The methods, but those with one request wait for it here."""
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
        """A read is never cancelled, as gRPC would keep a message that comes just then: the end of its call
        ends it."""
        now_s = asyncio.get_running_loop().time()
        self._on_their_way[context] = now_s
        self._look_by(now_s + (BODY_S if len(self._on_their_way) <= MOST_SLOW else SLOW_S))
        try:
            return await context.read()
        finally:
            self._on_their_way.pop(context, None)

    def _look_by(self, at_s: float) -> None:
        if at_s >= self._looks_at_s:
            return
        if self._look is not None:
            self._look.cancel()
        loop = asyncio.get_running_loop()
        self._looks_at_s = at_s
        self._look = loop.call_at(at_s, self._look_soon, loop)

    def _look_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        self._look = loop.call_later(_READ_WITHIN_S, self._end_late, loop)

    def _end_late(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what takes longer than it may, and set when to look again."""
        self._looks_at_s, self._look = math.inf, None
        now_s = loop.time()
        began_s = list(self._on_their_way.values())
        slow = bisect.bisect_right(began_s, now_s - SLOW_S)
        late = bisect.bisect_right(began_s, now_s - BODY_S)
        ended = max(late, slow - MOST_SLOW)
        for place, context in enumerate(itertools.islice(self._on_their_way, max(0, ended))):
            error = _late() if place < late else _too_many(slow)
            task = loop.create_task(self._end(context, error))
            self._ends.add(task)
            task.add_done_callback(self._has_ended)
        left_s = began_s[max(0, ended) :]
        if left_s:
            self._look_by(left_s[0] + BODY_S)
        if len(left_s) > MOST_SLOW:
            self._look_by(left_s[MOST_SLOW] + SLOW_S)

    async def _end(self, context: grpc.aio.ServicerContext, error: RingmillError) -> None:
        if self._on_their_way.pop(context, None) is not None:  # its request has not come meanwhile
            await abort(context, whole_status(error))

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        self._ends.discard(task)
        if not task.cancelled():
            task.exception()  # gRPC raises it from the read, too


def _late() -> RingmillError:
    return DeadlineExceeded(f"no whole request came within {BODY_S:g} s", outcome="failed")


def _too_many(slow: int) -> RingmillError:
    return Overloaded(
        f"{slow} requests had been on their way for more than {SLOW_S:g} s, this one among the longest; "
        f"{MOST_SLOW} may be"
    )


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
