"""A service as a table: the name of each method, and the function that answers it.

A method takes bytes and returns bytes, so one table serves every carrier: the gRPC server
(node/services/grpc_calls/over_grpc.py), the frames of a session and the simulator.  A method raises
RingmillErrors and does not know its carrier; the carrier converts the errors.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from google.protobuf.message import Message

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ports import Clock, Handler, Incoming
from ringmill.cluster.wire.parsing import parsed, serialized

__all__ = ["Call", "Service", "Stream", "Unary", "Upload", "frame_handler", "stream", "unary", "upload"]

RequestT = TypeVar("RequestT", bound=Message)


@dataclass(frozen=True, slots=True)
class Call:
    """What a method knows about a call besides its request."""

    left_s: float | None = None  # how long the caller still waits; None: without a limit
    metadata: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""  # the request as it came; of an upload nothing
    peer: str = ""  # the connection it came on


@dataclass(frozen=True, slots=True)
class Unary:
    """One request, one answer.

    With `tells_clock` the answer begins with this node's clock, if the carrier does not send it anyway.  One
    that `holds` answers when something happens, which may be never.
    """

    run: Callable[[bytes, Call], Awaitable[bytes]]
    tells_clock: bool = False
    holds: bool = False


@dataclass(frozen=True, slots=True)
class Upload:
    """Many requests, one answer."""

    run: Callable[[AsyncIterator[bytes], Call], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Stream:
    """One request, many answers."""

    run: Callable[[bytes, Call], AsyncIterator[bytes]]


Method: TypeAlias = Unary | Upload | Stream


@dataclass(frozen=True, slots=True)
class Service:
    """One service of proto/: its full name, and its methods by their names there."""

    name: str
    methods: Mapping[str, Method]


def unary(
    kind: type[RequestT],
    answer: Callable[[RequestT, Call], Awaitable[Message]],
    *,
    tells_clock: bool = False,
    most_bytes: int | None = None,
    holds: bool = False,
) -> Unary:
    """The method that decodes a request of this kind and encodes its answer; one above `most_bytes` is
    refused."""

    async def run(body: bytes, call: Call) -> bytes:
        if most_bytes is not None and len(body) > most_bytes:
            raise InvalidArgument(f"a message of {len(body)} bytes is over the limit of {most_bytes}")
        return serialized(await answer(parsed(kind, body), call))

    return Unary(run, tells_clock, holds)


def upload(
    kind: type[RequestT], answer: Callable[[AsyncIterator[RequestT], Call], Awaitable[Message]]
) -> Upload:
    """The method that decodes a stream of requests of this kind and encodes its one answer."""

    async def run(bodies: AsyncIterator[bytes], call: Call) -> bytes:
        return serialized(await answer(requests(bodies), call))

    async def requests(bodies: AsyncIterator[bytes]) -> AsyncIterator[RequestT]:
        async for body in bodies:
            yield parsed(kind, body)

    return Upload(run)


def stream(kind: type[RequestT], answers: Callable[[RequestT, Call], AsyncIterator[Message]]) -> Stream:
    """The method that decodes a request of this kind and encodes each of its answers."""

    async def run(body: bytes, call: Call) -> AsyncIterator[bytes]:
        async for message in answers(parsed(kind, body), call):
            yield serialized(message)

    return Stream(run)


def frame_handler(method: Unary, clock: Clock, metadata: Mapping[str, str] | None = None) -> Handler:
    """Answers one method over frames.

    Frames carry no metadata, so the caller of this function supplies it.
    """
    known = metadata or {}

    def answer(incoming: Incoming) -> Awaitable[bytes]:
        body = incoming.body
        return method.run(body, Call(incoming.deadline - clock.boottime(), known, body, incoming.sender))

    return answer
