"""Accepts streams of frames over TCP or a Unix socket, beside the node's gRPC server.

Whoever connects has 5 s to greet.  Rubbish, a silent connection or a frame that is none ends that connection
alone: the other side is told why where it can be, and the log has one line.  Who may ask what, and the end
of all streams, is the transport's business.  Rules F3 and F4: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ringmill.cluster.adapters.network.frame_transport import FrameTransport, Welcome
from ringmill.cluster.adapters.network.handshake import SESSION, Introduction
from ringmill.cluster.adapters.network.sockets.socket_places import loopback_port, socket_file
from ringmill.cluster.adapters.network.sockets.socket_stream import SocketStream
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
    ) -> None:
        self._node_id = node_id
        self._transport = transport
        self._max_connections = max_connections
        self._max_frame_bytes = max_frame_bytes
        self._complaints = Complaints(node_id, clock)
        self._tasks: dict[asyncio.Task[None], None] = {}

    @asynccontextmanager
    async def tcp(self, address: str) -> AsyncIterator[int]:
        """Listen on a free port of the host of `address` ("host:port"); the port.

        Raises InvalidArgument for a host that is not of this machine alone.
        """
        with loopback_port(address.rpartition(":")[0].strip("[]")) as listening:
            server = await asyncio.get_running_loop().create_server(
                self._stream, sock=listening, backlog=_BACKLOG
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
        limit = min(self._max_frame_bytes, MAX_CLIENT_MESSAGE_BYTES)  # until it is known who dials
        return SocketStream("", is_dialled=False, max_frame_bytes=limit, on_connected=self._begin)

    def _begin(self, stream: SocketStream) -> None:
        """A connection was made."""
        if len(self._tasks) >= self._max_connections:
            error = Overloaded(
                f"{self._node_id} has {len(self._tasks)} connections open", detail={"retry_after": 1.0}
            )
            self._complaints.add("a stream", error, by=stream.name)
            stream.refuse(error)
            return
        task = asyncio.get_running_loop().create_task(self._serve(stream), name="frames over a socket")
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def _serve(self, stream: SocketStream) -> None:
        """Answer one connection to its end, whatever it brings."""
        try:
            await stream.end(await self._outcome(stream))
        finally:
            await stream.close()

    async def _outcome(self, stream: SocketStream) -> RingmillError | None:
        """What the other side is to be told at the end; None when there is nothing to tell."""
        try:
            welcome = self._admit(await self._greeting(stream))
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

    def _admit(self, told: Introduction) -> Welcome:
        if told.traffic_class == SESSION:
            return self._transport.admit_client(told)
        return self._transport.admit_peer(told)
