"""Accepts streams of frames over TCP or a Unix socket, beside the node's gRPC server.

Whoever connects has 5 s to greet.  Rubbish, a silent connection or a frame that is none ends that connection
alone: the other side is told why where it can be, and the log has one line.  With TLS a port is taken by
who shakes hands within those 5 s, and only who shows the certificate of a node is taken for one.  Who may ask
what, and the end of all streams, is the transport's business.  Rules F3, F4 and F7:
docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Final

from ringmill.cluster.adapters.network.complaints import Complaints
from ringmill.cluster.adapters.network.frame_transport import FrameTransport, Welcome
from ringmill.cluster.adapters.network.handshake import SESSION, Introduction
from ringmill.cluster.adapters.network.sockets.socket_places import (
    free_port,
    loopback_port,
    socket_file,
)
from ringmill.cluster.adapters.network.sockets.socket_stream import SocketStream
from ringmill.cluster.adapters.network.sockets.tls_acceptance import Knock, secure
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.errors import Overloaded, ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.limits import MAX_CLIENT_MESSAGE_BYTES
from ringmill.cluster.ports import Clock
from ringmill.cluster.wire.frames import MAX_FRAME_BYTES

__all__ = ["SocketListener"]

HANDSHAKE_S: Final = 5.0
_BACKLOG: Final = 1024


class SocketListener:
    """Accepts for one node.  `max_connections` may be open at once; one more is told so and closed."""

    def __init__(
        self,
        node_id: NodeId,
        transport: FrameTransport,
        *,
        clock: Clock,
        max_connections: int = 16_384,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        tls: TlsFiles | None = None,
    ) -> None:
        self._node_id = node_id
        self._tls = tls
        self._transport = transport
        self._max_connections = max_connections
        self._max_frame_bytes = max_frame_bytes
        self._complaints = Complaints(node_id, clock)
        self._tasks: dict[asyncio.Task[None], None] = {}

    @asynccontextmanager
    async def tcp(self, address: str) -> AsyncIterator[int]:
        """Listen on a free port of the host of `address` ("host:port"); the port.

        Raises InvalidArgument for a host that is not of this machine alone, unless TLS is spoken.
        """
        place = loopback_port if self._tls is None else free_port
        with place(address.rpartition(":")[0].strip("[]")) as listening:
            server = await asyncio.get_running_loop().create_server(
                self._stream if self._tls is None else self._knock, sock=listening, backlog=_BACKLOG
            )
            async with self._ending(server):
                yield listening.getsockname()[1]

    @asynccontextmanager
    async def unix(self, path: str) -> AsyncIterator[str]:
        """Listen on a socket file at `path`, in a folder that only this user can enter; the path.

        Raises InvalidArgument for a path that cannot be had.
        """
        with socket_file(path) as listening:
            server = await asyncio.get_running_loop().create_unix_server(
                self._stream, sock=listening, backlog=_BACKLOG
            )
            async with self._ending(server):
                yield path

    @asynccontextmanager
    async def _ending(self, server: asyncio.Server) -> AsyncIterator[None]:
        try:
            yield
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _stream(self) -> SocketStream:
        return self._silent(on_connected=self._begin)

    def _silent(self, on_connected: Callable[[SocketStream], None] | None = None) -> SocketStream:
        limit = min(self._max_frame_bytes, MAX_CLIENT_MESSAGE_BYTES)  # until it is known who dials
        return SocketStream("", is_dialled=False, max_frame_bytes=limit, on_connected=on_connected)

    def _knock(self) -> Knock:
        return Knock(self._begin_secure)

    def _begin(self, stream: SocketStream) -> None:
        """A connection was made."""
        if (error := self._too_many(stream.name)) is not None:
            stream.refuse(error)
        else:
            self._start(self._serve(stream))

    def _begin_secure(self, knock: Knock) -> None:
        """A connection was made on which TLS is to be spoken."""
        if self._too_many(knock.name) is not None:
            knock.transport.abort()
        else:
            self._start(self._serve_secure(knock))

    def _too_many(self, name: str) -> Overloaded | None:
        """Why `name` finds no room; None when it does."""
        if len(self._tasks) < self._max_connections:
            return None
        error = Overloaded(
            f"{self._node_id} has {len(self._tasks)} connections open", detail={"retry_after": 1.0}
        )
        self._complaints.add("a stream", error, by=name)
        return error

    def _start(self, serving: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(serving, name="frames over a socket")
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def _serve_secure(self, knock: Knock) -> None:
        """Shake hands, then answer."""
        assert self._tls is not None
        stream, name = self._silent(), knock.name
        try:
            await secure(knock, stream, self._tls.server_context(), HANDSHAKE_S)
        except ProtocolMismatch as error:
            self._complaints.add(error.message, error, by=name)
            return
        except Unavailable:
            return  # it is not known what for it came
        await self._serve(stream)

    async def _serve(self, stream: SocketStream) -> None:
        """Answer one connection to its end, whatever it brings."""
        try:
            await stream.end(await self._outcome(stream))
        finally:
            await stream.close()

    async def _outcome(self, stream: SocketStream) -> RingmillError | None:
        """What the other side is to be told at the end; None when there is nothing to tell."""
        try:
            welcome = self._admit(stream, await self._greeting(stream))
            stream.allow(min(self._max_frame_bytes, welcome.dialler.max_frame_bytes))
            stream.greet(welcome.introduction)
            await self._transport.answer(stream, welcome)
        except Unavailable as error:
            return error  # the dialler is gone, or this node is going; what was asked for goes on
        except RingmillError as error:
            self._complaints.add("a stream", error, by=stream.name)
            return error
        except Exception as error:  # noqa: BLE001  one connection ends, and not the node
            self._complaints.add("a stream", error)
            return RingmillError(f"{self._node_id}: the stream failed: {error!r:.200}", outcome="unknown")
        return None

    async def _greeting(self, stream: SocketStream) -> Introduction:
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                return await stream.introduction()
        except TimeoutError:
            raise ProtocolMismatch(f"no whole greeting came within {HANDSHAKE_S:g} s") from None

    def _admit(self, stream: SocketStream, told: Introduction) -> Welcome:
        if told.traffic_class == SESSION:
            if self._tls is not None:
                self._tls.check_revoked(stream.certificate or {}, "a client")
            return self._transport.admit_client(told)
        if self._tls is not None:
            self._tls.check_node(stream.certificate, told.node or "a link without a name")
        return self._transport.admit_peer(told)
