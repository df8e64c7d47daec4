"""Serves tables of services over gRPC: bytes in, bytes out, errors as statuses.

gRPC counts the deadline of a call from its arrival, so a caller that knows this node's clock also sends the
time until which it waits (node/services/grpc_calls/waiting.py).  A caller that wants to know whether it
talks to a node of its cluster asks for a proof, which comes before all else of the answer, also of an error
(rule F6, docs/protocol/requests.md).  A node with TLS looks at the connection first (rule F7).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TypeAlias

import grpc

from ringmill.cluster.access.roles import READ
from ringmill.cluster.complaints import Complaints
from ringmill.cluster.ports import Clock
from ringmill.cluster.wire.error_status import end_with, whole_status
from ringmill.node.services.access.method_roles import role_needed
from ringmill.node.services.grpc_calls.grpc_refusals import abort, told_error_of
from ringmill.node.services.grpc_calls.timed_uploads import TimedUploads
from ringmill.node.services.grpc_calls.unread_answers import UnreadAnswers
from ringmill.node.services.grpc_calls.waiting import clock_texts, seconds_left
from ringmill.node.services.table import Call, Method, Service, Stream, Unary, Upload

__all__ = ["Admitting", "GrpcHandlers", "Proving", "grpc_handlers"]

GrpcHandlers: TypeAlias = Mapping[str, dict[str, grpc.RpcMethodHandler]]
"""By service and method, as `grpc.aio.Server.add_registered_method_handlers` takes them."""

Proving: TypeAlias = Callable[[Mapping[str, str], str], Mapping[str, str]]
"""The texts that prove a node to a caller, given the texts of its call and the path of the method; none for
a caller that does not ask."""


Admitting: TypeAlias = Callable[[grpc.aio.ServicerContext], None]
"""Raises a RingmillError for a call on a connection that is not as it should be."""


def _proves_nothing(_told: Mapping[str, str], _path: str) -> Mapping[str, str]:
    return {}


def grpc_handlers(
    tables: Iterable[Service],
    clock: Clock,
    prove: Proving = _proves_nothing,
    admit: Admitting | None = None,
    answers: UnreadAnswers | None = None,
) -> GrpcHandlers:
    """The handlers of each service."""
    beginning = _Beginning(clock, prove, admit, answers or UnreadAnswers())
    return {
        service.name: {
            name: _handler(method, f"{service.name}/{name}", beginning)
            for name, method in service.methods.items()
        }
        for service in tables
    }


class _Beginning:
    """What is done before a method runs, and whom its faults are told."""

    def __init__(self, clock: Clock, prove: Proving, admit: Admitting | None, answers: UnreadAnswers) -> None:
        self._clock = clock
        self._admit = admit
        self._prove = prove
        self.complaints = Complaints("gRPC", clock)
        self.uploads = TimedUploads()
        self.answers = answers

    async def call(
        self, context: grpc.aio.ServicerContext, name: str, body: bytes = b"", *, tells_clock: bool = False
    ) -> Call:
        """The call of the method, whose answer has begun."""
        pairs = context.invocation_metadata() or ()
        metadata = {key: value for key, value in reversed(pairs) if isinstance(value, str)}
        call = Call(seconds_left(context, self._clock), metadata, body, context.peer())
        first = dict(self._prove(metadata, f"/{name}"))
        if tells_clock:
            first |= clock_texts(self._clock)
        if first:
            await context.send_initial_metadata(tuple(first.items()))
        if self._admit is not None:
            self._admit(context)
        return call


def _handler(method: Method, name: str, beginning: _Beginning) -> grpc.RpcMethodHandler:
    if isinstance(method, Unary):
        return _unary(method, name, beginning)
    if isinstance(method, Upload):
        return _upload(method, name, beginning)
    return _stream(method, name, beginning)


def _unary(method: Unary, name: str, beginning: _Beginning) -> grpc.RpcMethodHandler:
    tells_clock = method.tells_clock
    left_out = _left_out(name)

    async def answer(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        told = b""
        try:
            place = beginning.answers.place(context, holds=method.holds)
            await place.enter()
            told = await method.run(body, await beginning.call(context, name, body, tells_clock=tells_clock))
            await place.hand(len(told), left_out)
            return told
        except Exception as error:  # noqa: BLE001  the boundary: whatever it is, the caller hears of it
            status = whole_status(told_error_of(error, name, beginning.complaints))
        del body, told  # or the call would keep them
        return await abort(context, status)

    return grpc.unary_unary_rpc_method_handler(answer)


def _left_out(name: str) -> str:
    """The outcome of a call whose answer is left out: what only reads has changed nothing."""
    return "failed" if role_needed(name.rpartition(".")[2]).role == READ else "unknown"


def _upload(method: Upload, name: str, beginning: _Beginning) -> grpc.RpcMethodHandler:
    async def answer(bodies: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
        sent = beginning.uploads.of(bodies)
        try:
            return await method.run(sent, await beginning.call(context, name))
        except Exception as error:  # noqa: BLE001  the boundary: whatever it is, the caller hears of it
            status = whole_status(told_error_of(error, name, beginning.complaints))
        finally:
            sent.close()
        del bodies, sent  # or the call would keep it
        return await abort(context, status)

    return grpc.stream_unary_rpc_method_handler(answer)


def _stream(method: Stream, name: str, beginning: _Beginning) -> grpc.RpcMethodHandler:
    async def answer(body: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        try:
            call = await beginning.call(context, name, body)
            async for each in method.run(body, call):
                yield each
        except Exception as error:  # noqa: BLE001  the boundary: whatever it is, the caller hears of it
            end_with(context, told_error_of(error, name, beginning.complaints))

    return grpc.unary_stream_rpc_method_handler(answer)
