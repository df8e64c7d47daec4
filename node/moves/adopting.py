"""What a joiner asks the old owners of partitions: whether they know of the joint, and their watermarks.

An owner answers once it holds the epoch of the question, on its disk, so from then on it refuses what was
sent under an earlier row.  Rules M2 and M3: docs/protocol/moves.md.  Messages: docs/formats/topology.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.cluster.ports import Handler, Incoming, Priority, Transport
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.node.contracts import TopologyView
from ringmill.node.replica.packing import pack, unpack
from ringmill.node.replica.purging.watermarks import Watermarks

__all__ = ["ADOPT", "Adopting", "ask_adopted"]

ADOPT: Final = "move.adopt"
"""Peer method: [epoch, [partition, ...]]; answers [epoch held, [watermark, ...]]."""
CALL_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Adopting:
    topology: TopologyView
    watermarks: Watermarks

    def handlers(self) -> Mapping[str, Handler]:
        return {ADOPT: self.answer}

    async def answer(self, incoming: Incoming) -> bytes:
        """Raises Unavailable when this node cannot catch up."""
        epoch, partitions = unpack(incoming.body, (int, list))
        await self.topology.know(Epoch(epoch), ask=incoming.sender)
        marks = [self.watermarks.proven(PartitionId(each)) for each in partitions if type(each) is int]
        return pack([self.topology.serving_topology().epoch, marks])


async def ask_adopted(
    transport: Transport, node: NodeId, epoch: Epoch, partitions: Sequence[PartitionId]
) -> list[HybridTime]:
    """The watermarks of an owner that holds `epoch` or a later one.  Raises what the call raises."""
    body = await transport.call(
        node, ADOPT, pack([epoch, list(partitions)]), timeout_s=CALL_TIMEOUT_S, priority=Priority.REPAIR
    )
    held, marks = unpack(body, (int, list))
    if held < epoch or len(marks) != len(partitions) or any(type(mark) is not int for mark in marks):
        raise ProtocolMismatch(f"{node} answered {ADOPT} of epoch {epoch} with epoch {held}")
    return [HybridTime(mark) for mark in marks]
