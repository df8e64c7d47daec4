"""What all jobs of one coordinator share: doors, the other members, and what this node does for jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ringmill.cluster.errors import DiskFull, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.splits import PartitionSpan
from ringmill.cluster.mapreduce.summary.node_lack import NodeLack
from ringmill.cluster.ports import Clock, FileSystem, Priority, Transport
from ringmill.cluster.traces.spans import Tracer
from ringmill.node.contracts import BundleSource, KeyspaceAccess, LivenessView, TopologyView
from ringmill.node.jobs.job_step_runner import JobStepRunner
from ringmill.node.jobs.journal.cells import Cells
from ringmill.node.jobs.slots import Slots
from ringmill.node.node_options import CoordinatorOptions

__all__ = ["Surroundings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The objects that all jobs of one coordinator share."""

    node: NodeId
    topology: TopologyView
    liveness: LivenessView
    clock: Clock
    wall: Callable[[], float]  # by the cluster's clocks: a job's coordinators count by the same one
    files: FileSystem
    job_steps: JobStepRunner
    bundles: BundleSource
    cells: Cells
    keyspaces: KeyspaceAccess
    transport: Transport
    slots: Slots
    slot_freed: Callable[[], None]  # wakes the other jobs
    rest: Callable[[], Awaitable[None]]  # requests go first
    options: CoordinatorOptions
    tracer: Tracer | None = None  # of jobs that are traced

    async def ask(self, node: NodeId, method: str, body: bytes, timeout_s: float) -> bytes:
        """The answer of a member.  Raises RingmillError."""
        return await self.transport.call(node, method, body, timeout_s=timeout_s, priority=Priority.CONTROL)

    async def code_of(self, spec: JobSpec) -> str:
        """The path of a job's code on this node, fetched from a member that has it.  Raises RingmillError."""
        failed: RingmillError = Unavailable("no other member is up", outcome="failed")
        others = [node for node in self.members_up() if node != self.node]
        for source in others or [self.node]:
            try:
                return await self.bundles.ensure(spec.bundle_sha256, source)
            except DiskFull:
                raise
            except RingmillError as error:
                failed = error
        raise failed

    def most_owned_by(self, span: PartitionSpan) -> set[NodeId]:
        """The members that own more than half of these partitions."""
        topology = self.topology.current
        if topology is None:
            return set()
        owned = Counter(
            node for each in range(span.first, span.last + 1) for node in topology.owners(PartitionId(each))
        )
        return {node for node, count in owned.items() if 2 * count > span.last + 1 - span.first}

    def members(self) -> list[NodeId]:
        """The members in the order of the topology; empty before there is one."""
        topology = self.topology.current
        return [member.id for member in topology.members] if topology is not None else []

    def lacks(self) -> tuple[NodeLack, ...]:
        """Of members that offer no slots and say why."""
        return self.slots.lacking(self.members())

    def members_up(self) -> list[NodeId]:
        """The members that are not seen down."""
        return [node for node in self.members() if self.liveness.is_up(node)]
