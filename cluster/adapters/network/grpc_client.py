"""A client's link to one node: plain calls of the public API, and hot calls as frames of one session.

Methods are named by their path ("/ringmill.v1.Kv/Put") and the type of their answer, so that a command line
imports no more stubs than it uses.  The outcome of a call is "failed" only when there was no
connection to send it on, or nobody who proved to be a node.

A link with the cluster's token takes no answer that has no proof (rule F6).  A session proves the node in its
handshake, before anything is asked.  gRPC connects a channel again by itself, so a plain call has two checks.
A connection that is new, as far as this side can see, is proved by a question that tells nothing
(Topology.Identify), so that neither a write nor the token of a job is sent to a stranger: that failure is
"failed".  And each answer has a proof of its own, because the connection may be lost, and another one made,
between the look at it and the call: what that call has done is "unknown".

With a plain call the client shows who it is (rule F8), by a proof for the challenge that came with the proof
of the connection.  A node of an earlier release gives no challenge; jobs are asked of it with the cluster's
token itself.

gRPC counts a deadline from the arrival of a call, so a plain call says beside it, in metadata, until when its
caller waits, on the node's own clock as far as earlier answers told it.

With TLS who listens at the address has to show a certificate for its host (rule F7).

Rules D1, F5, F6, F7, F8 and F9: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Self, TypeVar

import grpc
from google.protobuf.message import Message

from ringmill.cluster.access.cluster_secret import accepted_secrets
from ringmill.cluster.access.raw_tokens import TOKEN_KEY
from ringmill.cluster.adapters.network.access.token_secrets import secret_of
from ringmill.cluster.adapters.network.channels import CONNECT_TIMEOUT_S, open_channel
from ringmill.cluster.adapters.network.frame_link import FrameLink, nothing
from ringmill.cluster.adapters.network.frame_stream import FrameStream
from ringmill.cluster.adapters.network.grpc_errors import error_from_rpc, unreachable
from ringmill.cluster.adapters.network.grpc_streams import SESSION_PATH
from ringmill.cluster.adapters.network.handshake import (
    CHALLENGE_KEY,
    SESSION,
    Check,
    Introduction,
    any_node,
    clock_reading,
)
from ringmill.cluster.adapters.network.link_proofs import (
    WITH_CLIENT,
    AskedProof,
    CallMetadata,
    DialledProof,
    LinkSecret,
    unproved,
)
from ringmill.cluster.adapters.network.sockets.offered_carrier import carrier_named
from ringmill.cluster.adapters.network.tls.tls_diagnosis import tls_mismatch
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import (
    DeadlineExceeded,
    PermissionDenied,
    ProtocolMismatch,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.limits import MAX_CLIENT_MESSAGE_BYTES
from ringmill.cluster.ports import Ended, Priority
from ringmill.cluster.traces.spans import carried_text
from ringmill.cluster.traces.trace_context import TRACEPARENT
from ringmill.cluster.wire.error_status import error_in_metadata
from ringmill.cluster.wire.frames import MAX_FRAME_BYTES
from ringmill.cluster.wire.offers import CarrierName
from ringmill.cluster.wire.parsing import parsed
from ringmill.cluster.wire.sending_time import CLOCK_KEY, UNTIL_KEY, PeerClock, microseconds

__all__ = ["ClientLink"]

RETIRING_S: Final = 30.0  # for what is under way on a session that a newer one has replaced

AnswerT = TypeVar("AnswerT", bound=Message)
Metadata = Sequence[tuple[str, str]]
_IDENTIFY: Final = "/ringmill.v1.Topology/Identify"  # its request is empty
_HEALTH: Final = "/grpc.health.v1.Health/Check"  # it gives no proof; its connection is proved before
_TOPOLOGY: Final = "/ringmill.v1.Topology/Get"
_HARMLESS: Final = (_IDENTIFY, _TOPOLOGY)
"""Methods that tell nothing and change nothing, so that a stranger may be asked."""


class ClientLink:
    """One node by its address, "host:port".  Connects when first used; `close`, or `async with`, ends it."""

    def __init__(
        self,
        address: str,
        *,
        transport: CarrierName = "grpc",
        check: Check = any_node,
        token: str | Callable[[], str] = "",
        tells_token: bool = False,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        tls: TlsFiles | None = None,
    ) -> None:
        """`transport` is what carries the session, where the node offers it; plain calls go over gRPC.

        `check` looks at what the node says of itself when a session is dialled.  Who listens there has to
        prove that it knows the `token`, the cluster's or one of a client, and that it is the node of this
        address; "" asks for no proof.  A token that may change is given as what tells the present one: a
        session that was opened by another one is replaced by a new one.  With `tells_token` plain calls carry
        the cluster's token as it is to a node that gives no challenge.
        Raises InvalidArgument for a client's token that is damaged.
        """
        self._tls = tls
        self._entropy = OsEntropy()
        self._tells_token = tells_token
        self._token = token if callable(token) else _constant(token)
        self._take_token(self._token())
        self._no_secret = LinkSecret("", self._entropy)
        self._challenge = ""  # of the node's present start, as it told with its last proof
        self._connections = 0  # how many there may have been
        self._proved = 0  # the last of them that was proved to be to a node
        self._check = check
        self._address = address
        self._max_frame_bytes = max_frame_bytes
        self._channel: grpc.aio.Channel | None = None
        self._credentials: grpc.ChannelCredentials | None = None  # with which it connects, each time
        self._former: dict[grpc.aio.Channel, asyncio.Task[None]] = {}  # that connected with other files
        self._session: FrameLink | None = None
        self._retiring: dict[FrameLink, asyncio.Task[None]] = {}  # sessions that a newer one has replaced
        self._clock = SystemClock()
        self._carrier = carrier_named(
            transport, SESSION_PATH, clock=self._clock, max_frame_bytes=max_frame_bytes, tls=tls
        )
        self._peer_clock: PeerClock | None = None  # as answers to plain calls told it
        self._is_closed = False
        self.leaving: Callable[[], None] = nothing
        """Called when the node says on the session that it is about to stop."""
        self.loaded: Callable[[int], None] = lambda load: None
        """Called with how much it says on a session opened from then on that it has under way, 0 to 255."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections; calls under way fail as Unavailable, and so do all later ones."""
        self._is_closed = True
        for session, retiring in list(self._retiring.items()):
            await session.close()
            await asyncio.wait([retiring])
        if self._session is not None:
            await self._session.close()
        for channel, retiring in list(self._former.items()):
            await channel.close()
            retiring.cancel()
            await asyncio.wait([retiring])
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

        Raises what the servicer raised; Unavailable, "failed" when no connection could be made or who
        listens is not a node; DeadlineExceeded after `timeout_s`, connecting included; ProtocolMismatch for
        an answer that cannot be read.
        """
        connected = self._connected if path in _HARMLESS else self._proved_connection
        channel, remaining_s = await connected(timeout_s)
        method = channel.unary_unary(path, _serialized)
        sent_us = microseconds(self._clock.boottime())
        until = self._until(sent_us, remaining_s)
        asked = self._asked(path)
        with self._told(asked):
            told_with = (*metadata, *until, *self._shown(asked), *_of_trace())
            call = method(request, timeout=remaining_s, metadata=told_with)
            try:
                body: bytes = await call
                metadata = await call.initial_metadata()
            except grpc.aio.AioRpcError as error:
                if asked.is_given_by(error.initial_metadata()):
                    self._learn(error.initial_metadata(), sent_us)
                raise
            self._check_proof(asked, metadata)
            self._learn(metadata, sent_us)
        return self._message(answer, body)

    async def upload(
        self,
        path: str,
        requests: AsyncIterable[Message],
        answer: type[AnswerT],
        timeout_s: float,
        metadata: Metadata = (),
    ) -> AnswerT:
        """One call that sends many messages and gets one answer.  Raises as `unary`."""
        channel, remaining_s = await self._proved_connection(timeout_s)
        method = channel.stream_unary(path, _serialized)
        asked = self._asked(path)
        with self._told(asked):
            told_with = (*metadata, *self._shown(asked), *_of_trace())
            call = method(requests, timeout=remaining_s, metadata=told_with)
            body: bytes = await call
            self._check_proof(asked, await call.initial_metadata())
        return self._message(answer, body)

    async def stream(
        self,
        path: str,
        request: Message,
        answer: type[AnswerT],
        timeout_s: float | None,
        metadata: Metadata = (),
    ) -> AsyncIterator[AnswerT]:
        """One call with many answers; `timeout_s` None: for as long as it is read.  Raises as `unary`."""
        channel, remaining_s = await self._proved_connection(timeout_s)
        method = channel.unary_stream(path, _serialized)
        asked = self._asked(path)
        with self._told(asked):
            call = method(request, timeout=remaining_s, metadata=(*metadata, *self._shown(asked)))
            async for body in call:
                self._check_proof(asked, await call.initial_metadata())
                yield self._message(answer, body)
            self._check_proof(asked, await call.initial_metadata())  # there may have been none

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
        """Send one call without waiting: `ended` is told what `session_call` would return or raise.

        Calling what is returned says that nobody waits any more.
        """
        session = self._session
        try:
            if session is None or self._is_closed or self._token() != self._held_token:
                self._check_open()
                session = self._opened_session()
        except RingmillError as error:  # also a token that has changed, and is damaged
            ended(error)
            return nothing
        return session.send(method, body, timeout_s, Priority.WRITE, ended)

    def _message(self, kind: type[AnswerT], body: bytes) -> AnswerT:
        """An answer out of its bytes.  gRPC is not asked to decode it: it would give None for what is no
        message, and no error.

        Raises ProtocolMismatch, outcome unknown.
        """
        try:
            return parsed(kind, body)
        except ProtocolMismatch:
            raise ProtocolMismatch(f"{self._address}: the answer cannot be read", outcome="unknown") from None

    def _take_token(self, token: str) -> None:
        self._secret = secret_of(token, self._entropy)
        self._held_token = token
        is_told = self._tells_token and token and not self._secret.token_id
        self._in_clear: Metadata = ((TOKEN_KEY, accepted_secrets(token)[0]),) if is_told else ()

    def _follow_token(self) -> None:
        """Go on with another token, if it has changed (rule F9)."""
        token = self._token()
        if token == self._held_token:
            return
        self._take_token(token)
        session, self._session = self._session, None
        if session is not None:
            retiring = asyncio.create_task(session.retire(RETIRING_S), name="client-retiring")
            self._retiring[session] = retiring
            retiring.add_done_callback(lambda _: self._retiring.pop(session))

    def _opened_session(self) -> FrameLink:
        self._follow_token()
        if self._session is None:
            self._session = FrameLink(
                self._address,
                self._dial_session,
                clock=self._clock,
                entropy=self._entropy,
                max_frame_bytes=self._max_frame_bytes,
                max_call_bytes=MAX_CLIENT_MESSAGE_BYTES,
                noticed=lambda: self.leaving(),  # noqa: PLW0108 - it may be set later
                loaded=self.loaded,
            )
        return self._session

    async def _dial_session(self) -> FrameStream:
        ours = Introduction(traffic_class=SESSION, takes_runs=True, takes_load=True)
        proof = DialledProof(self._secret, ours, WITH_CLIENT, self._address)

        def check(introduction: Introduction) -> None:
            if not proof.is_given_by(introduction):
                raise unproved(self._address, "failed")
            self._check(introduction)

        try:
            stream = await self._carrier.dial(self._address, proof.ours, check, timeout_s=CONNECT_TIMEOUT_S)
        except Unavailable as error:
            raise await self._explained(error) from None
        await proof.show(stream, CONNECT_TIMEOUT_S)
        return stream

    async def _proved_connection(self, timeout_s: float | None) -> tuple[grpc.aio.Channel, float | None]:
        """The channel, connected to a node that has proved to be one, and what is left of the time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        channel, left_s = await self._connected(timeout_s)
        if not self._secret or self._proved == self._connections:
            return channel, left_s
        asked = self._asked(_IDENTIFY)
        within_s = CONNECT_TIMEOUT_S if left_s is None else left_s
        try:
            with self._told(asked):
                call = channel.unary_unary(_IDENTIFY)(b"", timeout=within_s, metadata=asked.metadata)
                await call
                self._check_proof(asked, await call.initial_metadata())
        except RingmillError as error:
            if not asked.is_given:  # else the node is one, whatever it says
                raise error.with_outcome("failed") from None
        return channel, None if timeout_s is None else timeout_s - (loop.time() - began)

    def _asked(self, path: str) -> AskedProof:
        self._follow_token()
        if path == _HEALTH:
            return AskedProof(self._no_secret, path, self._address, self._connections)
        challenge = "" if path in _HARMLESS else self._challenge  # they need no role
        return AskedProof(self._secret, path, self._address, self._connections, challenge)

    def _shown(self, asked: AskedProof) -> Metadata:
        """By what the node is to know who calls, and to prove itself."""
        return asked.metadata if self._challenge else (*asked.metadata, *self._in_clear)

    def _check_proof(self, asked: AskedProof, metadata: CallMetadata) -> None:
        """Raises Unavailable for an answer that does not begin with the proof that was asked for."""
        if asked.path == _HEALTH:
            return  # which proves nothing, of the connection neither
        if not asked.is_given_by(metadata):
            raise unproved(self._address, "failed" if asked.path in _HARMLESS else "unknown")
        self._proved = max(self._proved, asked.connection)
        self._challenge = next((str(value) for key, value in metadata or () if key == CHALLENGE_KEY), "")

    def _until(self, now_us: int, remaining_s: float | None) -> Metadata:
        """Until when the caller waits, on the node's clock; nothing while that clock is not known."""
        reading_us = self._peer_clock.reading(now_us) if self._peer_clock is not None else None
        if reading_us is None or remaining_s is None:
            return ()
        return ((UNTIL_KEY, str(reading_us + microseconds(remaining_s))),)

    def _learn(self, metadata: CallMetadata, sent_us: int) -> None:
        """Take over what an answer says of the node's clock."""
        clock = next((str(value) for key, value in metadata or () if key == CLOCK_KEY), None)
        reading_us = clock_reading(clock)
        if reading_us is None:
            return
        self._peer_clock = self._peer_clock or PeerClock()
        received_us = microseconds(self._clock.boottime())
        self._peer_clock.learn(reading_us, received_us=received_us, sent_us=sent_us)

    async def _connected(self, timeout_s: float | None) -> tuple[grpc.aio.Channel, float | None]:
        """The channel, connected, and what is left of the time."""
        self._check_open()
        if self._channel is not None and self._channel.get_state() is grpc.ChannelConnectivity.READY:
            return self._channel, timeout_s
        self._connections += 1
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(timeout_s):
                channel = await self._connect()
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self._address} did not accept a connection within {timeout_s} s", outcome="failed"
            ) from None
        return channel, None if timeout_s is None else timeout_s - (loop.time() - began)

    def _opened_channel(self) -> grpc.aio.Channel:
        """The channel.  One that is not connected and has other TLS files than those of now is replaced.

        gRPC connects a channel anew with what it was opened with (rule F7).
        """
        credentials = None if self._tls is None else self._tls.channel_credentials()
        channel = self._channel
        if channel is not None:
            if credentials is self._credentials or channel.get_state() is grpc.ChannelConnectivity.READY:
                return channel
            retiring = asyncio.create_task(_close_later(channel), name="client-retiring")
            self._former[channel] = retiring
            retiring.add_done_callback(lambda _: self._former.pop(channel, None))
        self._credentials = credentials
        self._channel = open_channel(self._address, max_frame_bytes=self._max_frame_bytes, tls=self._tls)
        return self._channel

    async def _connect(self) -> grpc.aio.Channel:
        while True:
            channel = self._opened_channel()
            state = channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.READY:
                return channel
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                raise await self._explained(unreachable(self._address))
            with self._told(was_sent=False):
                await channel.wait_for_state_change(state)
            self._check_open()

    async def _explained(self, error: Unavailable) -> Unavailable:
        """The error of a connection that did not come about, in words about TLS if that is why."""
        if "proved" in error.detail:
            return error
        return await tls_mismatch(self._address, self._tls) or error

    @contextmanager
    def _told(self, asked: AskedProof | None = None, *, was_sent: bool = True) -> Iterator[None]:
        """What gRPC raises, in our words.  A closed channel cancels what it carries: that is no cancellation
        of the caller's task.

        An error in a node's words counts as an answer, which has to begin with the proof that was `asked`.
        """
        try:
            yield
        except grpc.aio.AioRpcError as error:
            if asked is not None and _is_answer(error, asked.path):
                if (unknown := self._unknown_token(asked, error)) is not None:
                    raise unknown from None
                self._check_proof(asked, error.initial_metadata())
            raise error_from_rpc(error, self._address, was_sent=was_sent) from None
        except (asyncio.CancelledError, grpc.aio.UsageError) as error:
            task = asyncio.current_task()
            is_ours = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling()
            if is_ours or not self._is_closed:
                raise
            raise self._closed("unknown" if was_sent else "failed") from None

    def _unknown_token(self, asked: AskedProof, error: grpc.aio.AioRpcError) -> PermissionDenied | None:
        """What a node says that cannot prove itself, as it does not know the token of this client."""
        reported = error_in_metadata(error.trailing_metadata())
        if not isinstance(reported, PermissionDenied) or reported.detail.get("token") != "unknown":
            return None
        if asked.is_given_by(error.initial_metadata()):
            return None
        return reported.with_outcome("failed" if asked.path in _HARMLESS else "unknown")

    def _check_open(self) -> None:
        if self._is_closed:
            raise self._closed("failed")

    def _closed(self, outcome: str) -> Unavailable:
        return Unavailable(f"{self._address}: the link is closed", outcome=outcome)


def _is_answer(error: grpc.aio.AioRpcError, path: str) -> bool:
    """Whether a node, or somebody who says so, has answered with this error, and not gRPC on its way.

    Every node knows the methods that prove a connection.
    """
    is_unknown = error.code() is grpc.StatusCode.UNIMPLEMENTED and path in _HARMLESS
    return is_unknown or error_in_metadata(error.trailing_metadata()) is not None


def _of_trace() -> Metadata:
    """The metadata that names the trace of a call made now; none without a trace."""
    text = carried_text()
    return ((TRACEPARENT, text),) if text else ()


async def _close_later(channel: grpc.aio.Channel) -> None:
    """Once nobody waits for its connection any more, or uses one that it has got since."""
    await asyncio.sleep(RETIRING_S)
    await channel.close(RETIRING_S)


def _constant(token: str) -> Callable[[], str]:
    return lambda: token


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
