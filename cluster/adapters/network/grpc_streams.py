"""gRPC as the carrier of frames: the dialled and the accepted end of a bidirectional stream.

Both ends agree before anything is sent: the dialler says in metadata who it is, which cluster it belongs to
and which class of traffic it brings; the accepting node checks that and says who it is.  A stopped process
accepts connections through its kernel but does not answer this, so the handshake has a time of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias

import grpc

from ringmill.cluster.adapters.network.channels import CONNECT_TIMEOUT_S, open_channel
from ringmill.cluster.adapters.network.grpc_errors import error_from_rpc
from ringmill.cluster.errors import RingmillError, Unavailable
from ringmill.cluster.ports import Clock
from ringmill.cluster.wire.error_status import error_in_metadata, status_details, status_of, trailing_metadata
from ringmill.cluster.wire.sending_time import CLOCK_KEY, PeerClock, microseconds
from ringmill.cluster.wire.stubs.kv_pb2 import Frame

__all__ = [
    "CLASS_KEY",
    "CLUSTER_KEY",
    "NODE_KEY",
    "AcceptedStream",
    "DialledStream",
    "clock_told",
    "dial",
    "refuse",
]

NODE_KEY: Final = "ringmill-node"
CLUSTER_KEY: Final = "ringmill-cluster"
CLASS_KEY: Final = "ringmill-class"

_CLOCK_DIGITS: Final = 18

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


async def dial(
    address: str,
    open_stream: Callable[[grpc.aio.Channel, tuple[tuple[str, str], ...]], FrameRpc],
    metadata: tuple[tuple[str, str], ...],
    check: Callable[[dict[str, str]], None],
    *,
    clock: Clock,
    max_frame_bytes: int,
    timeout_s: float = CONNECT_TIMEOUT_S,
) -> DialledStream:
    """Connect, shake hands, and hand over the stream.

    `open_stream` starts the call on a channel; `check` sees what the other side said of itself and raises to
    refuse it.  Raises RingmillError, its outcome "failed": nothing but the handshake was sent.
    """
    channel = open_channel(address, max_frame_bytes=max_frame_bytes)
    try:
        async with asyncio.timeout(timeout_s):
            rpc = open_stream(channel, metadata)
            await rpc.wait_for_connection()
            told = {key: str(value) for key, value in await rpc.initial_metadata()}
            if NODE_KEY not in told:
                await rpc.read()  # a refusal comes without an introduction: this raises what it says
            peer_clock = clock_told(told.get(CLOCK_KEY), clock)
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


def clock_told(text: str | None, clock: Clock) -> PeerClock | None:
    """The clock of a side that has just said this of it; None when it has said nothing of use."""
    if text is None or not text.isdecimal() or len(text) > _CLOCK_DIGITS:
        return None
    peer_clock = PeerClock()
    peer_clock.learn(int(text), received_us=microseconds(clock.boottime()))
    return peer_clock


async def refuse(context: grpc.aio.ServicerContext, error: RingmillError) -> NoReturn:
    """End an accepted stream with an error that the dialler sees as itself."""
    await context.abort(status_of(error), status_details(error), trailing_metadata(error))
    raise AssertionError("abort always raises")
