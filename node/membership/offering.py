"""Hands the topology to members that may know neither a document nor a member to ask.

A node that runs on an empty folder, or was away when the cluster was formed, belongs to no cluster.  Once the
topology names its disk, every member that holds this document tells it, again and again until it answers; so
it makes no difference who asked for the replacement, and which nodes stop meanwhile.

Rules T2, T4 and T8: docs/protocol/topology.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from ringmill.cluster.beats import next_beat
from ringmill.cluster.errors import InvalidArgument, ProtocolMismatch, RingmillError
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.ports import Handler, Incoming, Priority, Transport
from ringmill.cluster.ring.topology import Owner, Topology
from ringmill.node.membership.topology_agent import TopologyAgent

__all__ = ["OFFER", "Offering"]

OFFER: Final = "topology.offer"
"""Peer method: 8 bytes of an epoch, big-endian, and its document or nothing.  The node adopts a document that
is newer than its own, and answers the epoch that it holds then, in the same form.  Exempt from epoch
checks."""

_TIMEOUT_S: Final = 2.0  # a node syncs a document before it answers
_AGAIN_S: Final = 1.0
_EPOCH_BYTES: Final = 8
_log = logging.getLogger(__name__)


class Offering:
    """`run` for as long as the node lives."""

    def __init__(self, seat: Owner, *, topology: TopologyAgent, transport: Transport) -> None:
        self._seat = seat
        self._topology = topology
        self._transport = transport
        self._former: Topology | None = None
        self._untold: set[NodeId] = set()
        self._has_untold = asyncio.Event()
        self._stays: set[NodeId] = set()  # given up, and serves the former cluster
        topology.on_change(self._look)

    def handlers(self) -> Mapping[str, Handler]:
        return {OFFER: self._take}

    @property
    def reasons(self) -> Sequence[str]:
        """Members that were given up and serve as the former cluster (T9)."""
        do = "end its process and reset its folder"
        return [
            f"{node}, whose disk was given up, serves the former cluster: {do}"
            for node in sorted(self._stays & self._untold)
        ]

    async def run(self) -> None:
        """Tell each member that may have no document, until cancelled."""
        while True:
            await self._has_untold.wait()
            await self._tell_all()
            if self._untold:
                await next_beat(_AGAIN_S)
            else:
                self._has_untold.clear()

    def _look(self, topology: Topology) -> None:
        """Note whom to tell: whose disk is new, and of the first document known here all members, of which
        most know it already.  Who is a member no more is told nothing."""
        former, self._former = self._former, topology
        known = former.members if former is not None and former.cluster == topology.cluster else ()
        before = {member.seat for member in known}
        changed = {member.id for member in topology.members if member.seat not in before}
        self._untold &= topology.addresses().keys()
        self._untold |= changed - {self._seat.node}
        if self._untold:
            self._has_untold.set()

    async def _tell_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for node in sorted(self._untold):
                group.create_task(self._tell(node))

    async def _tell(self, node: NodeId) -> None:
        topology = self._topology.current
        if (
            topology is None or not self._topology.serving
        ):  # one that does not count is offered by nobody (T4)
            return
        try:
            if await self._offer(node, topology, b"") < topology.epoch:
                await self._offer(node, topology, topology.encode())
        except RingmillError as error:
            _log.debug("%s has not taken topology epoch %d: %s", node, topology.epoch, error)
            is_refusal = error.was_told and isinstance(error, InvalidArgument)
            if is_refusal and topology.has_member(node) and topology.member(node).is_given_up:
                self._stays.add(node)
            else:
                self._stays.discard(node)
        else:
            if self._topology.current is topology:
                self._untold.discard(node)

    async def _offer(self, node: NodeId, topology: Topology, document: bytes) -> Epoch:
        """The epoch that the node holds afterwards."""
        body = topology.epoch.to_bytes(_EPOCH_BYTES, "big") + document
        answer = await self._transport.call(
            node, OFFER, body, timeout_s=_TIMEOUT_S, priority=Priority.CONTROL
        )
        if len(answer) != _EPOCH_BYTES:
            raise ProtocolMismatch(f"{node} answered {OFFER} with {len(answer)} bytes")
        return Epoch(int.from_bytes(answer, "big"))

    async def _take(self, incoming: Incoming) -> bytes:
        """Raises InvalidArgument for a document that this node may not hold."""
        if len(incoming.body) < _EPOCH_BYTES:
            raise ProtocolMismatch(f"{OFFER} of {len(incoming.body)} bytes, need the 8 of an epoch")
        epoch = int.from_bytes(incoming.body[:_EPOCH_BYTES], "big")
        document = incoming.body[_EPOCH_BYTES:]
        if document and epoch > self._topology.epoch:
            await self._topology.be_given(document)
        return self._topology.epoch.to_bytes(_EPOCH_BYTES, "big")
