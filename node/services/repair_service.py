"""The Repair service: how this node's copies compare with those of the other owners, and what is damaged."""

from __future__ import annotations

from ringmill.cluster.errors import InvalidArgument, WrongEpoch
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.topology import Row
from ringmill.cluster.versions.hybrid_time import millis
from ringmill.cluster.wire.stubs.repair_pb2 import (
    ComparedPair,
    HealRequest,
    HealResponse,
    RepairRunRequest,
    RepairRunResponse,
    RepairStatusRequest,
    RepairStatusResponse,
    ShortPartition,
    Watermark,
)
from ringmill.node.contracts import TopologyView
from ringmill.node.repair.room import Repair
from ringmill.node.replica.room import Replica
from ringmill.node.replica.stored_key import Copy
from ringmill.node.services.table import Call, Service, unary

__all__ = ["RepairService"]


class RepairService:
    def __init__(self, node: NodeId, *, replica: Replica, repair: Repair, topology: TopologyView) -> None:
        self._node = node
        self._replica = replica
        self._healing = repair.healing
        self._anti_entropy = repair.anti_entropy
        self._purging = repair.purging
        self._forgetting = repair.forgetting
        self._topology = topology

    def service(self) -> Service:
        methods = {
            "Status": unary(RepairStatusRequest, self._status),
            "Run": unary(RepairRunRequest, self._run),
            "Heal": unary(HealRequest, self._heal),
        }
        return Service("ringmill.v1.Repair", methods)

    async def _status(self, request: RepairStatusRequest, call: Call) -> RepairStatusResponse:
        comparisons, owed = self._replica.comparisons, {*self._anti_entropy.waiting}
        is_all_owed = not (self._anti_entropy.is_done or owed)
        pairs = [
            ComparedPair(
                partition=partition,
                other=other,
                equal_s_ago=comparisons.equal_s_ago(partition, other),
                owed=is_all_owed or (partition, other) in owed,
                held_back=self._anti_entropy.held_back.get((partition, other), ""),
            )
            for partition, others in self._owned().items()
            for other in others
        ]
        return RepairStatusResponse(
            watermarks=[self._watermark(partition, row) for partition, row in self._rows().items()],
            forgotten=self._forgetting.forgotten,
            stale_refused=self._replica.watermarks.refused,
            registers_removed=self._replica.registers.removed,
            node=self._node,
            pairs=pairs,
            pulled=comparisons.pulled,
            pushed=comparisons.pushed,
            moved_bytes=comparisons.moved_bytes,
            wire_bytes=comparisons.wire_bytes,
            hints_dropped=self._replica.hints.dropped,
        )

    async def _run(self, request: RepairRunRequest, call: Call) -> RepairRunResponse:
        """Raises WrongEpoch for a partition that this node does not own, by the topology that it knows, which
        may be newer or older than that of whoever asks; InvalidArgument for one that there is not;
        Unavailable."""
        topology, owned = self._topology.serving_topology(), self._owned()
        partitions = [PartitionId(number) for number in request.partitions] or list(owned)
        for partition in partitions:
            if partition >= topology.partitions:
                raise InvalidArgument(f"partitions are numbered from 0 to {topology.partitions - 1}")
            if partition not in owned:
                raise WrongEpoch(
                    f"{self._node} does not own partition {partition} in epoch {topology.epoch}",
                    detail={"epoch": topology.epoch, "partition": partition},
                    hint="fetch the topology again",
                )
        self._anti_entropy.compare_now(partitions)
        self._purging.purge_now()
        return RepairRunResponse(partitions=len(partitions))

    async def _heal(self, request: HealRequest, call: Call) -> HealResponse:
        """Raises InvalidArgument for an owner that no damaged partition waits for."""
        if request.without:
            self._healing.accept_loss([NodeId(node) for node in request.without])
        short = self._healing.loss.short
        return HealResponse(
            node=self._node,
            unfilled=self._healing.unfilled,
            short=[
                ShortPartition(partition=partition, missing=sorted(missing))
                for partition, missing in sorted(short.items())
            ],
        )

    def _owned(self) -> dict[PartitionId, list[NodeId]]:
        """The partitions of this node, with their other owners."""
        return {
            partition: [other for other in row.whole if other != self._node]
            for partition, row in self._rows().items()
        }

    def _rows(self) -> dict[PartitionId, Row]:
        return {
            PartitionId(number): row
            for number, row in enumerate(self._topology.serving_topology().rows)
            if self._node in row.whole
        }

    def _watermark(self, partition: PartitionId, row: Row) -> Watermark:
        return Watermark(
            partition=partition,
            proven_ms=millis(self._replica.watermarks.proven(partition)),
            tombstones=self._replica.objects.dead.tombstones(Copy(partition, row.copy_epoch_of(self._node))),
            leads=self._node == min(row.whole),
            held_back=self._purging.why_kept(partition),
        )
