"""gRPC as the carrier of frames: the dialled and the accepted end of a bidirectional stream.

The introductions of both ends are metadata.  A stopped process accepts connections through its kernel but
does not answer that, so the handshake has a time of its own.
"""

from __future__ import annotations

import asyncio
from typing import Final, NoReturn, TypeAlias

import grpc

from ringmill.cluster.adapters.network.channels import open_channel
from ringmill.cluster.adapters.network.grpc_errors import error_from_rpc
from ringmill.cluster.adapters.network.handshake import Check, Introduction
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.errors import RingmillError, Unavailable
from ringmill.cluster.ports import Clock
from ringmill.cluster.wire.error_status import error_in_metadata, status_details, status_of, trailing_metadata
from ringmill.cluster.wire.frames import MAX_FRAME_BYTES
from ringmill.cluster.wire.sending_time import PeerClock, microseconds
from ringmill.cluster.wire.stubs.kv_pb2 import Frame

__all__ = ["LINK", "SESSION_PATH", "AcceptedStream", "DialledStream", "GrpcCarrier", "refuse"]

LINK: Final = "/ringmill.v1.Peer/Link"  # streams between nodes
SESSION_PATH: Final = "/ringmill.v1.Kv/Session"  # a client's stream

FrameRpc: TypeAlias = "grpc.aio.StreamStreamCall[Frame, Frame]"


class DialledStream:
    """The end of the side that asks."""

    def __init__(
        self, address: str, channel: grpc.aio.Channel, rpc: FrameRpc, peer_clock: PeerClock | None
    ) -> None:
        self._address = address
        self._channel = channel
        self._rpc = rpc
        self.peer_clock = peer_clock

    async def read(self) -> bytes | None:
        try:
            message = await self._rpc.read()
        except grpc.aio.AioRpcError as error:
            raise self._lost(error) from None
        return None if message is grpc.aio.EOF else message.body

    async def write(self, frame: bytes) -> None:
        try:
            await self._rpc.write(Frame(body=frame))
        except grpc.aio.AioRpcError as error:
            raise self._lost(error) from None
        except asyncio.InvalidStateError:
            raise Unavailable(f"{self._address}: the stream has ended", outcome="unknown") from None

    async def close(self) -> None:
        self._rpc.cancel()
        await self._channel.close()

    def _lost(self, error: grpc.aio.AioRpcError) -> RingmillError:
        """What the other side said of why, or just that it is gone: a broken stream has many statuses."""
        return error_in_metadata(error.trailing_metadata()) or Unavailable(
            f"{self._address}: the stream broke: {error.details()}", outcome="unknown"
        )


class AcceptedStream:
    """The end of the side that answers: a servicer's context."""

    peer_clock = None

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        self._context = context

    async def read(self) -> bytes | None:
        try:
            message = await self._context.read()
        except grpc.aio.BaseError as error:
            raise Unavailable(f"the dialler went away: {error}", outcome="unknown") from None
        return None if message is grpc.aio.EOF else message.body

    async def write(self, frame: bytes) -> None:
        try:
            await self._context.write(Frame(body=frame))
        except grpc.aio.BaseError as error:
            raise Unavailable(f"the dialler went away: {error}", outcome="unknown") from None

    async def close(self) -> None:
        """Nothing to let go of: the stream ends with its servicer method."""


class GrpcCarrier:
    """Dials streams of the method at `path`."""

    def __init__(
        self,
        path: str,
        *,
        clock: Clock,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        tls: TlsFiles | None = None,
    ) -> None:
        self._path = path
        self._tls = tls
        self._clock = clock
        self._max_frame_bytes = max_frame_bytes

    async def dial(
        self, address: str, ours: Introduction, check: Check, *, timeout_s: float, node: str = ""
    ) -> DialledStream:
        channel = open_channel(address, max_frame_bytes=self._max_frame_bytes, tls=self._tls, node=node)
        try:
            async with asyncio.timeout(timeout_s):
                method = channel.stream_stream(self._path, Frame.SerializeToString, Frame.FromString)
                rpc = method(metadata=tuple(ours.texts().items()))
                await rpc.wait_for_connection()
                told = Introduction.of({key: str(value) for key, value in await rpc.initial_metadata()})
                if not told.node:
                    await rpc.read()  # a refusal comes without an introduction: this raises what it says
                peer_clock = told.peer_clock(microseconds(self._clock.boottime()))
                check(told)
        except grpc.aio.AioRpcError as error:
            await channel.close()
            raise error_from_rpc(error, address, was_sent=False) from None
        except TimeoutError:
            await channel.close()
            raise Unavailable(f"{address} did not answer a handshake within {timeout_s:g} s") from None
        except BaseException:
            await channel.close()
            raise
        return DialledStream(address, channel, rpc, peer_clock)


async def refuse(context: grpc.aio.ServicerContext, error: RingmillError) -> NoReturn:
    """End an accepted stream with an error that the dialler sees as itself."""
    await context.abort(status_of(error), status_details(error), trailing_metadata(error))
    raise AssertionError("abort always raises")
