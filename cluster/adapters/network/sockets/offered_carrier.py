"""Dials streams over TCP or Unix sockets where the other side offers that, else over gRPC.

Addresses of nodes are those of their gRPC servers, and there the answering side says in the handshake where
else it takes frames.  So the first dial asks over gRPC, and later ones go to the place that was told, until
that fails: a node that was restarted has another port.  A side that offers nothing keeps the gRPC stream that
it was asked on, so that nodes of different settings and releases go on talking.  So does one whose place is
not its own as seen from here: the path of a Unix socket means another one on another machine.

With TLS each stream shows who is at either end (rule F7).  Frames between nodes go over such sockets alone
then, as gRPC for Python shows neither side the certificate of the other.

Decision: docs/decisions/carriers-are-offered.md.  Rules F5 and F7: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from ringmill.cluster.adapters.network.frame_stream import Carrier, FrameStream
from ringmill.cluster.adapters.network.grpc_streams import GrpcCarrier
from ringmill.cluster.adapters.network.handshake import Check, Introduction
from ringmill.cluster.adapters.network.sockets.socket_stream import SocketStream
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.errors import RingmillError, Unavailable
from ringmill.cluster.ports import Clock
from ringmill.cluster.wire.frames import MAX_FRAME_BYTES
from ringmill.cluster.wire.offers import CarrierName, Place, offered
from ringmill.cluster.wire.sending_time import microseconds

__all__ = ["carrier_named"]

_log = logging.getLogger(__name__)


def carrier_named(
    name: CarrierName,
    path: str,
    *,
    clock: Clock,
    max_frame_bytes: int = MAX_FRAME_BYTES,
    tls: TlsFiles | None = None,
) -> Carrier:
    """The dialling half of a carrier.  `path` is the gRPC method whose streams it dials, or asks on."""
    grpc = GrpcCarrier(path, clock=clock, max_frame_bytes=max_frame_bytes, tls=tls)
    return grpc if name == "grpc" else _OfferedCarrier(name, grpc, clock, max_frame_bytes, tls)


class _Offer(NamedTuple):
    """Where a node takes frames, and which node that is, as it said over gRPC."""

    place: Place
    node: str
    cluster: str  # "" before it belongs to one

    def is_place_of(self, introduction: Introduction) -> bool:
        """Whether it is the same node that says this of itself at the place."""
        clusters = {introduction.cluster, self.cluster} - {""}  # it may have joined one in between
        return introduction.node == self.node and len(clusters) < 2


class _OfferedCarrier:
    def __init__(
        self, name: CarrierName, grpc: Carrier, clock: Clock, max_frame_bytes: int, tls: TlsFiles | None
    ) -> None:
        self._name = name
        self._tls = tls
        self._grpc = grpc
        self._clock = clock
        self._max_frame_bytes = max_frame_bytes
        self._places: dict[str, _Offer] = {}  # by address, as offered at the last handshake
        self._noted: dict[str, str] = {}  # by address: why it is dialled over gRPC, as the log has it

    async def dial(
        self, address: str, ours: Introduction, check: Check, *, timeout_s: float, node: str = ""
    ) -> FrameStream:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._dial_known(address, ours, check, node) or await self._ask_and_dial(
                    address, ours, check, timeout_s, node
                )
        except TimeoutError:
            raise Unavailable(f"{address} did not answer a handshake within {timeout_s:g} s") from None

    async def _dial_known(
        self, address: str, ours: Introduction, check: Check, node: str
    ) -> FrameStream | None:
        """A stream to the place that the node offered last; None without one, or if it listens no longer."""
        offer = self._places.pop(address, None)
        if offer is None:
            return None
        try:
            stream = await self._by_socket(address, offer, ours, check, node)
        except (OSError, RingmillError):
            return None  # the node itself has the last word, over gRPC
        self._places[address] = offer
        return stream

    async def _ask_and_dial(
        self, address: str, ours: Introduction, check: Check, timeout_s: float, node: str
    ) -> FrameStream:
        """A stream to the place that the node offers now, or over gRPC when it offers none."""
        heard: list[Introduction] = []

        def hear(introduction: Introduction) -> None:
            check(introduction)
            heard.append(introduction)

        asked = await self._grpc.dial(address, ours, hear, timeout_s=timeout_s, node=node)
        place = offered(heard[0].offer, self._name)
        if place is None:
            return await self._over_grpc(asked, address, f"does not offer {self._name}", node)
        offer = _Offer(place, heard[0].node, heard[0].cluster)
        self._places[address] = offer  # should the time be over now, the next dial needs less than half of it
        try:
            stream = await self._by_socket(address, offer, ours, check, node)
        except OSError as error:
            self._places.pop(address, None)
            why = f"offers {self._name}, which cannot be reached: {error}"
        except BaseException as error:
            if isinstance(error, RingmillError):
                self._places.pop(address, None)
            if not isinstance(error, RingmillError) or not isinstance(place, str):
                await asked.close()
                raise
            why = f"offers {self._name}, and on this machine another one has its path: {error}"
        else:
            await asked.close()
            self._noted.pop(address, None)
            return stream
        check(heard[0])  # who is checked last is shown the proof of this side
        return await self._over_grpc(asked, address, why, node)

    async def _over_grpc(self, asked: FrameStream, address: str, why: str, node: str) -> FrameStream:
        """The stream that was asked on.  Raises Unavailable where it shows no certificates (rule F7)."""
        if node and self._tls is not None:
            await asked.close()
            raise Unavailable(f"{address} {why}; with TLS, frames between nodes go by no other way")
        self._note(address, why)
        return asked

    async def _by_socket(
        self, address: str, offer: _Offer, ours: Introduction, check: Check, node: str
    ) -> SocketStream:
        """Connect and shake hands.

        Raises OSError when nobody listens there, or another node than the one that told of it, and
        RingmillError.
        """
        loop, place = asyncio.get_running_loop(), offer.place

        def make() -> SocketStream:
            return SocketStream(address, is_dialled=True, max_frame_bytes=self._max_frame_bytes)

        if isinstance(place, str):
            _, stream = await loop.create_unix_connection(make, place)
        else:
            host = address.rpartition(":")[0].strip("[]")
            tls = self._tls
            named = None if tls is None else (tls.host_of(node) if node else host)
            context = None if tls is None else tls.client_context()
            _, stream = await loop.create_connection(make, host, place, ssl=context, server_hostname=named)
        try:
            if self._tls is not None and node:
                self._tls.check_node(stream.certificate, node)
                stream.watched_by(self._tls, node)
            stream.greet(ours)
            introduction = await stream.introduction()
            stream.peer_clock = introduction.peer_clock(microseconds(self._clock.boottime()))
            stream.takes_traces = introduction.takes_traces
            check(introduction)
            if not offer.is_place_of(introduction):
                found, cluster = introduction.node, introduction.cluster or "no cluster"
                raise ConnectionError(f"{found} of {cluster} listens at {place}")
        except BaseException:
            await stream.close()
            raise
        return stream

    def _note(self, address: str, why: str) -> None:
        if self._noted.get(address) != why:
            self._noted[address] = why
            _log.info("%s %s: its frames go over gRPC", address, why)
