"""gRPC as the carrier of frames: the dialled and the accepted end of a bidirectional stream.

The introductions of both ends are metadata.  A stopped process accepts connections through its kernel but
does not answer that, so the handshake has a time of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final, TypeAlias, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError

from ringmill.cluster.adapters.network.channels import open_channel
from ringmill.cluster.adapters.network.grpc_errors import error_from_rpc
from ringmill.cluster.adapters.network.handshake import Check, Introduction
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.errors import ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.ports import Clock
from ringmill.cluster.wire.error_status import error_in_metadata
from ringmill.cluster.wire.frames import MAX_FRAME_BYTES
from ringmill.cluster.wire.sending_time import PeerClock, microseconds
from ringmill.cluster.wire.stubs.kv_pb2 import Frame

__all__ = ["LINK", "SESSION_PATH", "AcceptedStream", "DialledStream", "GrpcCarrier"]

LINK: Final = "/ringmill.v1.Peer/Link"  # streams between nodes
SESSION_PATH: Final = "/ringmill.v1.Kv/Session"  # a client's stream

# What gRPC says of a write onto a stream that the other side has ended.
_WRITE_FAILED: Final = "Internal error from Core"
_STATUS_TIMEOUT_S: Final = 0.5  # the other side's status comes with the end of its stream

T = TypeVar("T")

FrameRpc: TypeAlias = "grpc.aio.StreamStreamCall[Frame, Frame]"


class DialledStream:
    """The end of the side that asks."""

    _status: asyncio.Future[tuple[RingmillError | None, str]]  # what ended the stream, and its details

    def __init__(
        self,
        address: str,
        channel: grpc.aio.Channel,
        rpc: FrameRpc,
        peer_clock: PeerClock | None,
        *,
        takes_traces: bool,
    ) -> None:
        self._address = address
        self._channel = channel
        self._rpc = rpc
        self.peer_clock = peer_clock
        self.takes_traces = takes_traces
        self._status = asyncio.get_running_loop().create_future()
        rpc.add_done_callback(self._ended)

    async def read(self) -> bytes | None:
        try:
            message = await self._rpc.read()
        except grpc.aio.AioRpcError as error:
            raise await self._lost(error.details()) from None
        if message is None:  # gRPC has logged that it does not decode
            raise ProtocolMismatch(f"{self._address}: what came on a stream of frames is not a frame")
        return None if message is grpc.aio.EOF else message.body

    async def write(self, frame: bytes) -> None:
        try:
            await self._rpc.write(Frame(body=frame))
        except grpc.aio.AioRpcError as error:
            raise await self._lost(error.details()) from None
        except asyncio.InvalidStateError:
            raise await self._lost("it has ended") from None

    async def close(self) -> None:
        self._rpc.cancel()
        await self._channel.close()

    def _ended(self, rpc: FrameRpc) -> None:
        """Keep the status that the other side gave.

        gRPC calls this again when a write onto the ended stream fails, with a status of its own in the place
        of the other side's, before that or after it.
        """
        details = _present(rpc.details())
        if details != _WRITE_FAILED and not self._status.done():
            self._status.set_result((error_in_metadata(_present(rpc.trailing_metadata())), details))

    async def _lost(self, details: str | None) -> RingmillError:
        """What the other side said of why, or just that it is gone: a broken stream has many statuses."""
        reported: RingmillError | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STATUS_TIMEOUT_S):
                reported, details = await asyncio.shield(self._status)
        return reported or Unavailable(f"{self._address}: the stream broke: {details}", outcome="unknown")


def _present(answer: Coroutine[Any, Any, T]) -> T:
    """The answer of a coroutine that has nothing to wait for: the status of an ended call is there."""
    try:
        answer.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    raise AssertionError("a call that has ended has its status")


class AcceptedStream:
    """The end of the side that answers: a servicer's context."""

    peer_clock = None
    takes_traces = False

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        self._context = context

    async def read(self) -> bytes | None:
        try:
            message = await self._context.read()
        except grpc.aio.BaseError as error:
            raise Unavailable(f"the dialler went away: {error}", outcome="unknown") from None
        except DecodeError:
            raise ProtocolMismatch("what came on a stream of frames is not a frame") from None
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
                metadata = await rpc.initial_metadata()
                introduction = Introduction.of({key: str(value) for key, value in metadata})
                if not introduction.node:
                    await rpc.read()  # a refusal comes without an introduction: this raises what it says
                peer_clock = introduction.peer_clock(microseconds(self._clock.boottime()))
                check(introduction)
        except grpc.aio.AioRpcError as error:
            await channel.close()
            raise error_from_rpc(error, address, was_sent=False) from None
        except TimeoutError:
            await channel.close()
            raise Unavailable(f"{address} did not answer a handshake within {timeout_s:g} s") from None
        except BaseException:
            await channel.close()
            raise
        return DialledStream(address, channel, rpc, peer_clock, takes_traces=introduction.takes_traces)
