"""The Topology service: who this node is, its first document, its newest one.  Decodes, calls, encodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import DiskId, Epoch, NodeId, Start
from ringmill.cluster.ring.access.access_changes import without_access
from ringmill.cluster.ring.document import FORMAT_VERSION
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.wire.stubs.topology_pb2 import (
    GetFormerTopologyRequest,
    GetFormerTopologyResponse,
    GetTopologyRequest,
    GetTopologyResponse,
    IdentifyRequest,
    IdentifyResponse,
    InitRequest,
    InitResponse,
)
from ringmill.node.membership.history.topology_history import TopologyHistory
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.node.services.table import Call, Service, unary

__all__ = ["NodeCard", "TopologyService"]


@dataclass(frozen=True, slots=True)
class NodeCard:
    """What a node tells anyone who asks, even before it belongs to a cluster."""

    node: NodeId
    disk: DiskId
    start: Start
    address: str
    zone: str
    version: str


class TopologyService:
    """Clients call `Get` first, so its answer also carries this node's clock and hybrid time (rule V4).

    The keys of tokens stay among nodes: documents are told without them (rule F8).
    """

    def __init__(
        self,
        card: NodeCard,
        agent: TopologyAgent,
        history: TopologyHistory,
        hybrid: HybridClock,
        *,
        is_leaving: Callable[[], bool],
    ) -> None:
        self._card = card
        self._agent = agent
        self._history = history
        self._hybrid = hybrid
        self._is_leaving = is_leaving
        self._told: tuple[Topology, Topology] | None = None  # the last one, and as clients are told it

    def service(self) -> Service:
        return Service(
            "ringmill.v1.Topology",
            {
                "Identify": unary(IdentifyRequest, self._identify),
                "Init": unary(InitRequest, self._init),
                "Get": unary(GetTopologyRequest, self._get, tells_clock=True),
                "GetFormer": unary(GetFormerTopologyRequest, self._get_former),
            },
        )

    async def _identify(self, request: IdentifyRequest, call: Call) -> IdentifyResponse:
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
            reads=FORMAT_VERSION,
        )

    async def _init(self, request: InitRequest, call: Call) -> InitResponse:
        topology = await self._agent.take_first(request.document)
        return InitResponse(cluster=topology.cluster, epoch=topology.epoch)

    async def _get(self, request: GetTopologyRequest, call: Call) -> GetTopologyResponse:
        """Raises Unavailable once the node leaves service, as clients ask this to see whom to use (T10)."""
        if self._is_leaving():
            raise Unavailable(f"{self._card.node} is stopping", hint="ask another node", outcome="failed")
        current = self._agent.current
        if current is None:
            return GetTopologyResponse(hybrid_time=self._hybrid.now())
        return GetTopologyResponse(
            epoch=current.epoch,
            document=self._for_clients(current).encode() if current.epoch > request.known_epoch else b"",
            hybrid_time=self._hybrid.now(),
            cluster=current.cluster,
        )

    async def _get_former(self, request: GetFormerTopologyRequest, call: Call) -> GetFormerTopologyResponse:
        document = self._history.find(Epoch(request.epoch))
        if document:
            document = without_access(Topology.decode(document)).encode()
        return GetFormerTopologyResponse(document=document, epochs=self._history.epochs())

    def _for_clients(self, topology: Topology) -> Topology:
        if self._told is None or self._told[0] is not topology:
            self._told = topology, without_access(topology)
        return self._told[1]
