"""Snapshots of all members' stores, for a job that reads a keyspace as it was when the job was planned.

Each member takes its snapshot by itself, so the moments differ by what a message takes.  Every write that was
acknowledged before the job was submitted is in those of W owners, and a scan asks R of them.
Rule J27: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ringmill.cluster.errors import QuorumNotReached, RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ports import Priority, Transport
from ringmill.cluster.quorum.levels import parse_level
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.node.contracts import LivenessView, TimeKeeper, TopologyView
from ringmill.node.replica.packing import pack
from ringmill.node.replica.snapshots.snapshot_serving import (
    HOLD_SNAPSHOT,
    KEEP_SNAPSHOT,
    RELEASE_SNAPSHOT,
    held_partitions,
)

__all__ = ["SNAPSHOT_LEVEL", "JobSnapshots"]

SNAPSHOT_LEVEL: Final = "quorum"
_CALL_S: Final = 2.0


class JobSnapshots:
    def __init__(
        self,
        *,
        transport: Transport,
        topology: TopologyView,
        liveness: LivenessView,
        hybrid: HybridClock,
        timekeeper: TimeKeeper,
    ) -> None:
        self._transport = transport
        self._topology = topology
        self._liveness = liveness
        self._hybrid = hybrid
        self._timekeeper = timekeeper

    async def hold(self, name: str, keyspace: KeyspaceEntry) -> int:
        """Have every member that is up take a snapshot; returns the time by which its expiry is judged.

        Raises QuorumNotReached when fewer than a majority of some partition's owners have one.
        """
        body = pack([name])
        try:
            up = self._up()
            answers = dict(zip(up, await gather_all(self._held_by(node, body) for node in up), strict=True))
            self._check_enough(self._topology.serving_topology(), keyspace, answers)
        except BaseException:
            await self.release(name)
            raise
        await self._timekeeper.wait_compared(_CALL_S)  # a wrong clock would hide what has not expired
        return self._hybrid.expiry_ms()

    async def keep(self, name: str) -> None:
        """Have the members hold theirs for a while longer; one that has none stays without."""
        await self._tell(KEEP_SNAPSHOT, name)

    async def release(self, name: str) -> None:
        """Whoever does not hear of it releases its snapshot after a while by itself."""
        await self._tell(RELEASE_SNAPSHOT, name)

    async def _held_by(self, node: NodeId, body: bytes) -> set[PartitionId] | RingmillError:
        """The partitions that its snapshot speaks for, or why it took none."""
        try:
            return held_partitions(await self._call(node, HOLD_SNAPSHOT, body))
        except RingmillError as error:
            return error

    async def _tell(self, method: str, name: str) -> None:
        body = pack([name])
        await gather_all(self._told(node, method, body) for node in self._up())

    async def _told(self, node: NodeId, method: str, body: bytes) -> None:
        try:
            await self._call(node, method, body)
        except RingmillError:
            return

    async def _call(self, node: NodeId, method: str, body: bytes) -> bytes:
        return await self._transport.call(node, method, body, timeout_s=_CALL_S, priority=Priority.CONTROL)

    def _up(self) -> list[NodeId]:
        topology = self._topology.current
        members = topology.members if topology is not None else ()
        return [member.id for member in members if self._liveness.is_up(member.id)]

    def _check_enough(
        self,
        topology: Topology,
        keyspace: KeyspaceEntry,
        answers: Mapping[NodeId, set[PartitionId] | RingmillError],
    ) -> None:
        for number, row in enumerate(topology.rows):
            wanted = row.readers_for(parse_level(SNAPSHOT_LEVEL, row.size, keyspace.r))
            reasons = {node: _reason(answers.get(node), PartitionId(number)) for node in row.readers}
            if sum(not why for why in reasons.values()) < wanted:
                raise QuorumNotReached.of(
                    f"snapshot of partition {number} of {keyspace.name}",
                    wanted,
                    [node for node, why in reasons.items() if not why],
                    {node: why for node, why in reasons.items() if why},
                    outcome="failed",
                    hint="mend that, or read with consistency quorum",
                )


def _reason(answer: set[PartitionId] | RingmillError | None, partition: PartitionId) -> str:
    """Why a node has no snapshot of the partition; empty if it has one."""
    if answer is None:
        return "is down"
    if isinstance(answer, RingmillError):
        return answer.message
    return "" if partition in answer else "may lack some of it"
