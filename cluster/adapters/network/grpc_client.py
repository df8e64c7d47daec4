"""A client's link to one node: plain calls of the public API, and hot calls as frames of one session.

Methods are named by their path ("/ringmill.v1.Kv/Put") and the type of their answer, so that a command line
imports no more stubs than it uses.  The outcome of a call is "failed" only when there was no
connection to send it on.

gRPC counts a deadline from the arrival of a call, so a plain call says beside it, in metadata, until when its
caller waits, on the node's own clock as far as earlier answers told it.

Rules D1 and F5: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self, TypeVar

import grpc
from google.protobuf.message import Message

from ringmill.cluster.adapters.network.channels import CONNECT_TIMEOUT_S, open_channel
from ringmill.cluster.adapters.network.frame_link import FrameLink, nothing
from ringmill.cluster.adapters.network.frame_stream import FrameStream
from ringmill.cluster.adapters.network.grpc_errors import error_from_rpc, unreachable
from ringmill.cluster.adapters.network.grpc_streams import SESSION_PATH
from ringmill.cluster.adapters.network.handshake import (
    SESSION,
    Check,
    Introduction,
    any_node,
    clock_reading,
)
from ringmill.cluster.adapters.network.sockets.offered_carrier import carrier_named
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import DeadlineExceeded, Unavailable
from ringmill.cluster.limits import MAX_CLIENT_MESSAGE_BYTES
from ringmill.cluster.ports import Ended, Priority
from ringmill.cluster.wire.frames import MAX_FRAME_BYTES
from ringmill.cluster.wire.offers import CarrierName
from ringmill.cluster.wire.sending_time import CLOCK_KEY, UNTIL_KEY, PeerClock, microseconds

__all__ = ["ClientLink"]

AnswerT = TypeVar("AnswerT", bound=Message)
Metadata = Sequence[tuple[str, str]]


class ClientLink:
    """One node by its address, "host:port".  Connects when first used; `close`, or `async with`, ends it."""

    def __init__(
        self,
        address: str,
        *,
        transport: CarrierName = "grpc",
        check: Check = any_node,
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        """`transport` is what carries the session, where the node offers it; plain calls go over gRPC.

        `check` looks at what the node says of itself when a session is dialled.
        """
        self._check = check
        self._address = address
        self._max_frame_bytes = max_frame_bytes
        self._channel: grpc.aio.Channel | None = None
        self._session: FrameLink | None = None
        self._clock = SystemClock()
        self._carrier = carrier_named(
            transport, SESSION_PATH, clock=self._clock, max_frame_bytes=max_frame_bytes
        )
        self._peer_clock: PeerClock | None = None  # as answers to plain calls told it
        self._is_closed = False
        self.leaving: Callable[[], None] = nothing
        """Called when the node says on the session that it is about to stop."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections; calls under way fail as Unavailable, and so do all later ones."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()
        if self._channel is not None:
            await self._channel.close()

    async def unary(
        self,
        path: str,
        request: Message,
        answer: type[AnswerT],
        timeout_s: float,
        metadata: Metadata = (),
    ) -> AnswerT:
        """One call with one answer.

        Raises what the servicer raised; Unavailable, "failed" when no connection could be made;
        DeadlineExceeded after `timeout_s`, connecting included.
        """
        channel, remaining_s = await self._connected(timeout_s)
        method = channel.unary_unary(path, _serialized, answer.FromString)
        sent_us = microseconds(self._clock.boottime())
        until = self._until(sent_us, remaining_s)
        with self._told():
            call = method(request, timeout=remaining_s, metadata=(*metadata, *until))
            try:
                message: AnswerT = await call
                self._learn(await call.initial_metadata(), sent_us)
            except grpc.aio.AioRpcError as error:
                self._learn(error.initial_metadata(), sent_us)
                raise
        return message

    async def upload(
        self,
        path: str,
        requests: AsyncIterable[Message],
        answer: type[AnswerT],
        timeout_s: float,
        metadata: Metadata = (),
    ) -> AnswerT:
        """One call that sends many messages and gets one answer.  Raises as `unary`."""
        channel, remaining_s = await self._connected(timeout_s)
        method = channel.stream_unary(path, _serialized, answer.FromString)
        with self._told():
            return await method(requests, timeout=remaining_s, metadata=metadata)  # type: ignore[no-any-return]

    async def stream(
        self,
        path: str,
        request: Message,
        answer: type[AnswerT],
        timeout_s: float | None,
        metadata: Metadata = (),
    ) -> AsyncIterator[AnswerT]:
        """One call with many answers; `timeout_s` None: for as long as it is read.  Raises as `unary`."""
        channel, remaining_s = await self._connected(timeout_s)
        method = channel.unary_stream(path, _serialized, answer.FromString)
        with self._told():
            async for message in method(request, timeout=remaining_s, metadata=metadata):
                yield message

    async def session_call(
        self, method: str, body: bytes, timeout_s: float, *, priority: Priority = Priority.WRITE
    ) -> bytes:
        """One call ("kv.put", "kv.get" …) in the next frame of this link's session; the answer's bytes.

        Raises what the handler raised; Unavailable, "failed" when nothing was sent; DeadlineExceeded;
        Overloaded when too much waits to be sent.
        """
        self._check_open()
        return await self._opened_session().call(method, body, timeout_s, priority)

    def session_send(self, method: str, body: bytes, timeout_s: float, ended: Ended) -> Callable[[], None]:
        """The same without a task that waits: `ended` is told what `session_call` returns or raises.

        Calling what is returned says that nobody waits any more.
        """
        if self._is_closed:
            ended(self._closed("failed"))
            return nothing
        return self._opened_session().send(method, body, timeout_s, Priority.WRITE, ended)

    def _opened_session(self) -> FrameLink:
        if self._session is None:
            self._session = FrameLink(
                self._address,
                self._dial_session,
                clock=self._clock,
                entropy=OsEntropy(),
                max_frame_bytes=self._max_frame_bytes,
                max_call_bytes=MAX_CLIENT_MESSAGE_BYTES,
                noticed=lambda: self.leaving(),  # noqa: PLW0108 - it may be set later
            )
        return self._session

    async def _dial_session(self) -> FrameStream:
        ours = Introduction(traffic_class=SESSION, takes_runs=True)
        return await self._carrier.dial(self._address, ours, self._check, timeout_s=CONNECT_TIMEOUT_S)

    def _until(self, now_us: int, remaining_s: float | None) -> Metadata:
        """Until when the caller waits, on the node's clock; nothing while that clock is not known."""
        reading_us = self._peer_clock.reading(now_us) if self._peer_clock is not None else None
        if reading_us is None or remaining_s is None:
            return ()
        return ((UNTIL_KEY, str(reading_us + microseconds(remaining_s))),)

    def _learn(self, told: Iterable[tuple[str, str | bytes]] | None, sent_us: int) -> None:
        """Take over what an answer says of the node's clock."""
        reading_us = clock_reading(next((str(value) for key, value in told or () if key == CLOCK_KEY), None))
        if reading_us is None:
            return
        self._peer_clock = self._peer_clock or PeerClock()
        received_us = microseconds(self._clock.boottime())
        self._peer_clock.learn(reading_us, received_us=received_us, sent_us=sent_us)

    async def _connected(self, timeout_s: float | None) -> tuple[grpc.aio.Channel, float | None]:
        """The channel, connected, and what is left of the time."""
        self._check_open()
        if self._channel is None:
            self._channel = open_channel(self._address, max_frame_bytes=self._max_frame_bytes)
        if self._channel.get_state() is grpc.ChannelConnectivity.READY:
            return self._channel, timeout_s
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(timeout_s):
                await self._connect(self._channel)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self._address} did not accept a connection within {timeout_s} s", outcome="failed"
            ) from None
        return self._channel, None if timeout_s is None else timeout_s - (loop.time() - began)

    async def _connect(self, channel: grpc.aio.Channel) -> None:
        while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                raise unreachable(self._address)
            with self._told(was_sent=False):
                await channel.wait_for_state_change(state)
            self._check_open()

    @contextmanager
    def _told(self, *, was_sent: bool = True) -> Iterator[None]:
        """What gRPC raises, in our words.  A closed channel cancels what it carries: that is no cancellation
        of the caller's task."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error, self._address, was_sent=was_sent) from None
        except (asyncio.CancelledError, grpc.aio.UsageError) as error:
            task = asyncio.current_task()
            is_ours = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling()
            if is_ours or not self._is_closed:
                raise
            raise self._closed("unknown" if was_sent else "failed") from None

    def _check_open(self) -> None:
        if self._is_closed:
            raise self._closed("failed")

    def _closed(self, outcome: str) -> Unavailable:
        return Unavailable(f"{self._address}: the link is closed", outcome=outcome)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
