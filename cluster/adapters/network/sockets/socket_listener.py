"""Accepts streams of frames over TCP or a Unix socket, beside the node's gRPC server.

Whoever connects has 5 s to greet.  Rubbish, a silent connection or a frame that is none ends that connection
alone: the other side is told why where it can be, and the log has one line.  With TLS a port is taken by
who shakes hands within those 5 s, and only who shows the certificate of a node is taken for one.  Who may ask
what, and the end of all streams, is the transport's business.  Rules F3, F4 and F7:
docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Final

from ringmill.cluster.adapters.network.frame_transport import FrameTransport, Welcome
from ringmill.cluster.adapters.network.handshake import SESSION, Introduction
from ringmill.cluster.adapters.network.sockets.socket_places import (
    bound_port,
    loopback_port,
    socket_file,
)
from ringmill.cluster.adapters.network.sockets.socket_stream import SocketStream
from ringmill.cluster.adapters.network.sockets.tls_acceptance import accept_connections, shake_hands
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.complaints import Complaints
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
    async def tcp(self, address: str, port: int = 0) -> AsyncIterator[int]:
        """Listen on `port` of the host of `address` ("host:port"), or on a free one; the port.

        Raises InvalidArgument for a host that is not of this machine alone, unless TLS is spoken, and for a
        port that is taken.
        """
        host = address.rpartition(":")[0].strip("[]")
        if self._tls is not None:
            async with self._secure(host, port) as found:
                yield found
            return
        with loopback_port(host, port) as listening:
            server = await asyncio.get_running_loop().create_server(
                self._stream, sock=listening, backlog=_BACKLOG
            )
            async with self._ending(server.close):
                yield listening.getsockname()[1]

    @asynccontextmanager
    async def _secure(self, host: str, port: int) -> AsyncIterator[int]:
        with bound_port(host, port) as listening:
            listening.setblocking(False)
            listening.listen(_BACKLOG)
            accepting = asyncio.create_task(
                accept_connections(listening, self._begin_secure), name="accept TLS"
            )
            try:
                async with self._ending(accepting.cancel):
                    yield listening.getsockname()[1]
            finally:
                await asyncio.gather(accepting, return_exceptions=True)  # it is cancelled

    @asynccontextmanager
    async def unix(self, path: str) -> AsyncIterator[str]:
        """Listen on a socket file at `path`, in a folder that only this user can enter; the path.

        Raises InvalidArgument for a path that cannot be had.
        """
        with socket_file(path) as listening:
            server = await asyncio.get_running_loop().create_unix_server(
                self._stream, sock=listening, backlog=_BACKLOG
            )
            async with self._ending(server.close):
                yield path

    @asynccontextmanager
    async def _ending(self, stop: Callable[[], object]) -> AsyncIterator[None]:
        try:
            yield
        finally:
            stop()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _stream(self) -> SocketStream:
        return self._silent(on_connected=self._begin)

    def _silent(self, on_connected: Callable[[SocketStream], None] | None = None) -> SocketStream:
        limit = min(self._max_frame_bytes, MAX_CLIENT_MESSAGE_BYTES)  # until it is known who dials
        return SocketStream("", is_dialled=False, max_frame_bytes=limit, on_connected=on_connected)

    def _begin(self, stream: SocketStream) -> None:
        """A connection was made."""
        if (error := self._too_many(stream.name)) is not None:
            stream.refuse(error)
        else:
            self._start(self._serve(stream))

    def _begin_secure(self, connection: socket.socket, name: str) -> None:
        """A connection was made on which TLS is to be spoken."""
        if self._too_many(name) is not None:
            connection.close()
        else:
            self._start(self._serve_secure(connection, name))

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

    async def _serve_secure(self, connection: socket.socket, name: str) -> None:
        """Shake hands, then answer."""
        assert self._tls is not None
        stream = self._silent()
        try:
            await shake_hands(connection, stream, self._tls.server_context(), HANDSHAKE_S)
        except ProtocolMismatch as error:
            self._complaints.add("a connection", error, by=name, sort=error.message)
        except Unavailable:
            return  # it is not known what it came for
        else:
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
            if self._tls is not None:
                stream.watched_by(self._tls, welcome.dialler.node or "a client")
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

    def _admit(self, stream: SocketStream, introduction: Introduction) -> Welcome:
        if introduction.traffic_class == SESSION:
            if self._tls is not None:
                self._tls.check_client(stream.certificate)
            return self._transport.admit_client(introduction)
        if self._tls is not None:
            self._tls.check_node(stream.certificate, introduction.node or "a link without a name")
        return self._transport.admit_peer(introduction)
