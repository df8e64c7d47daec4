"""The Topology service: who this node is, its first document, its newest one.  Decodes, calls, encodes."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from ringmill.cluster.ids import DiskId, NodeId, Start
from ringmill.cluster.ports import Clock
from ringmill.cluster.wire.stubs.topology_pb2 import (
    GetTopologyRequest,
    GetTopologyResponse,
    IdentifyRequest,
    IdentifyResponse,
    InitRequest,
    InitResponse,
)
from ringmill.cluster.wire.stubs.topology_pb2_grpc import TopologyServicer
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.node.services.errors import raises_status
from ringmill.node.services.waiting import tell_clock

__all__ = ["NodeCard", "TopologyService"]


@dataclass(frozen=True, slots=True)
class NodeCard:
    """What a node says of itself to anyone who asks, before it belongs to any cluster."""

    node: NodeId
    disk: DiskId
    start: Start
    address: str
    zone: str
    version: str


class TopologyService(TopologyServicer):
    """`Get` is what clients ask first, so it also tells them this node's clock."""

    def __init__(self, card: NodeCard, agent: TopologyAgent, clock: Clock) -> None:
        self._card = card
        self._agent = agent
        self._clock = clock

    @raises_status
    async def Identify(  # noqa: N802
        self, request: IdentifyRequest, context: grpc.aio.ServicerContext
    ) -> IdentifyResponse:
        current = self._agent.current
        return IdentifyResponse(
            node=self._card.node,
            disk=self._card.disk,
            start=self._card.start.number,
            boot=self._card.start.boot,
            cluster=current.cluster if current else "",
            epoch=self._agent.epoch,
            address=self._card.address,
            zone=self._card.zone,
            version=self._card.version,
        )

    @raises_status
    async def Init(  # noqa: N802
        self, request: InitRequest, context: grpc.aio.ServicerContext
    ) -> InitResponse:
        topology = await self._agent.init(request.document)
        return InitResponse(cluster=topology.cluster, epoch=topology.epoch)

    @raises_status
    async def Get(  # noqa: N802
        self, request: GetTopologyRequest, context: grpc.aio.ServicerContext
    ) -> GetTopologyResponse:
        await tell_clock(context, self._clock)
        current = self._agent.current
        if current is None or current.epoch <= request.known_epoch:
            return GetTopologyResponse(epoch=self._agent.epoch)
        return GetTopologyResponse(epoch=current.epoch, document=current.encode())
