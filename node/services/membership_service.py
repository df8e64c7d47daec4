"""The Membership service: this node's view of the others, and its own figures.  It decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ringmill.cluster.hot.key_heat import HeatReport, Rates
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ports import Clock
from ringmill.cluster.ring.partition_health import count_partitions
from ringmill.cluster.ring.plans.moving_rate import MeasuredMoves
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.wire.stubs.membership_pb2 import (
    HeatRates,
    HotKey,
    HotRequest,
    HotResponse,
    MemberView,
    MetricFamily,
    MetricsRequest,
    MetricsResponse,
    MovingPace,
    SizesRequest,
    SizesResponse,
    StatusRequest,
    StatusResponse,
)
from ringmill.node.membership.liveness import Liveness
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.node.services.figures import NodeFigures
from ringmill.node.services.table import Call, Service, unary

__all__ = ["MembershipService"]


class MembershipService:
    """`figures` is asked at each Status, `metrics` at each Metrics, `sizes` and `pace` at each Sizes, `heat`
    at each Hot.

    `pid` is this process's, its uptime counts from now on.
    """

    def __init__(
        self,
        node: NodeId,
        *,
        agent: TopologyAgent,
        liveness: Liveness,
        figures: Callable[[], NodeFigures],
        metrics: Callable[[], Sequence[MetricFamily]],
        sizes: Callable[[], Mapping[PartitionId, int]],
        pace: Callable[[], MeasuredMoves],
        heat: Callable[[], HeatReport],
        pid: int,
        clock: Clock,
    ) -> None:
        self._node = node
        self._agent = agent
        self._liveness = liveness
        self._figures = figures
        self._metrics = metrics
        self._sizes = sizes
        self._pace = pace
        self._heat = heat
        self._pid = pid
        self._clock = clock
        self._began = clock.monotonic()

    def service(self) -> Service:
        methods = {
            "Status": unary(StatusRequest, self._status),
            "Metrics": unary(MetricsRequest, self._tell_metrics),
            "Sizes": unary(SizesRequest, self._tell_sizes),
            "Hot": unary(HotRequest, self._tell_hot),
        }
        return Service("ringmill.v1.Membership", methods)

    async def _status(self, request: StatusRequest, call: Call) -> StatusResponse:
        figures = self._figures()
        response = StatusResponse(
            node=self._node,
            pid=self._pid,
            keys=figures.keys,
            bytes=figures.bytes,
            hints=sum(figures.hints_by_node.values()),
            hints_by_node={str(node): count for node, count in figures.hints_by_node.items()},
            coordinator=figures.coordinator,
            damaged_ranges=figures.damaged_ranges,
            healing=figures.healing,
            unfilled=figures.unfilled,
            tombstones=figures.tombstones,
            purge_held_back=figures.purge_held_back,
            removing=figures.removing,
            reasons=figures.reasons,
            counting=figures.is_counting,
            engine=figures.engine,
            engine_failure=figures.engine_failure,
            denied=figures.denied,
            containment=figures.containment,
            uptime_s=self._clock.monotonic() - self._began,
        )
        if self._agent.current is not None:
            self._add_cluster(response, self._agent.current)
        return response

    async def _tell_metrics(self, request: MetricsRequest, call: Call) -> MetricsResponse:
        return MetricsResponse(node=self._node, clock_s=self._clock.monotonic(), families=self._metrics())

    async def _tell_sizes(self, request: SizesRequest, call: Call) -> SizesResponse:
        sizes = {int(partition): size for partition, size in self._sizes().items() if size}
        pace = self._pace()
        return SizesResponse(
            node=self._node,
            bytes=sizes,
            counting=self._figures().is_counting,
            moving=MovingPace(
                bytes=pace.size_bytes,
                copies=pace.copies,
                fill_s=pace.fill_s,
                epochs=pace.epochs,
                epochs_s=pace.epochs_s,
            ),
        )

    async def _tell_hot(self, request: HotRequest, call: Call) -> HotResponse:
        """Raises Unavailable before there is a topology."""
        return _hot_response(self._node, self._agent.serving_topology(), self._heat())

    def _add_cluster(self, response: StatusResponse, topology: Topology) -> None:
        counts = count_partitions(topology, self._liveness.is_up)
        response.cluster = topology.cluster
        response.epoch = topology.epoch
        response.n = topology.n
        response.ranges_ok = counts.ok
        response.ranges_under_replicated = counts.under_replicated
        response.ranges_no_quorum = counts.no_quorum
        response.members.extend(
            MemberView(
                id=member.id,
                address=member.address,
                state="slow" if self._liveness.is_slow(member.id) else self._liveness.state(member.id),
                membership=member.state,
                owns=topology.owned_by(member.id),
            )
            for member in topology.members
        )


def _hot_response(node: NodeId, topology: Topology, report: HeatReport) -> HotResponse:
    """Names in place of ids; keys of keyspaces that were dropped are left out."""
    return HotResponse(
        node=node,
        keys=[
            HotKey(
                keyspace=topology.keyspace(each.keyspace).name,
                key=each.key,
                partition=topology.partition_of(each.keyspace, each.key),
                rates=_rates(each.rates),
                error_s=each.error_s,
                spread=each.is_spread,
            )
            for each in report.keys
            if not topology.has_dropped(each.keyspace)
        ],
        partitions={int(at): _rates(rates) for at, rates in report.partitions.items()},
        floor_s=report.floor_s,
        sampled_every=report.every,
    )


def _rates(rates: Rates) -> HeatRates:
    return HeatRates(**rates._asdict())
