"""What carries frames: a stream to read from and write to, whatever is below it.

gRPC is one carrier (cluster/adapters/network/grpc_streams.py); the pacing, matching and answering above it
know only this.  A carrier moves whole frames, in order, unchanged or not at all.  What the two ends agree on
before the first frame is the same for all carriers (cluster/adapters/network/handshake.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Protocol

from ringmill.cluster.adapters.network.handshake import Check, Introduction
from ringmill.cluster.wire.sending_time import PeerClock

__all__ = ["Carrier", "FrameStream", "run_halves"]


class FrameStream(Protocol):
    """One bidirectional stream of frames, established and agreed on."""

    @property
    def peer_clock(self) -> PeerClock | None:
        """The other side's clock as the handshake told it; None on the answering side, and when the other
        side is of a release that stamps nothing."""
        ...

    @property
    def takes_traces(self) -> bool:
        """Whether the other side has said in the handshake that it takes traces with operations."""
        ...

    async def read(self) -> bytes | None:
        """The next frame; None when the other side has closed the stream.

        Raises RingmillError when it broke, or was refused: what the other side said of why.
        """
        ...

    async def write(self, frame: bytes) -> None:
        """Hand over one frame; waits while the other side does not take any.

        Raises RingmillError when the stream broke.
        """
        ...

    async def close(self) -> None:
        """Let go of the stream and what carries it; nothing is flushed."""
        ...


class Carrier(Protocol):
    """The dialling half of a carrier."""

    async def dial(
        self, address: str, ours: Introduction, check: Check, *, timeout_s: float, node: str = ""
    ) -> FrameStream:
        """A stream to the node at `address` ("host:port"), both sides being introduced.

        With TLS it is a stream to `node` and nobody else (rule F7); "" when only the address is known.

        Raises RingmillError, its outcome "failed": nothing but the handshake was sent.
        """
        ...


async def run_halves(reading: Coroutine[None, None, None], writing: Coroutine[None, None, None]) -> None:
    """Read and write one stream until `reading` returns, then stop writing; raise what ended either half."""
    try:
        async with asyncio.TaskGroup() as halves:
            writer = halves.create_task(writing)
            await reading
            writer.cancel()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
