"""Which topology documents nodes can read: asked before one is made that the release before refuses.

While members of two releases run, a document that some of them refuse would leave these behind: they know no
later one, and serve less and less, until they are upgraded.  A newcomer that cannot read the document that
names it would never know that it is a member, and hold up each other change.

Rule T11: docs/protocol/topology.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ringmill.cluster.errors import Conflict, ProtocolMismatch, RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Handler, Incoming, Priority, Transport
from ringmill.cluster.ring.document import FORMAT_VERSION
from ringmill.cluster.ring.topology import Topology
from ringmill.node.contracts import TopologyView

__all__ = ["READS", "DocumentVersions", "check_read_by_newcomer"]

READS: Final = "topology.reads"
"""Peer method: no body; answers one byte, the highest version of a document that this node reads."""


def check_read_by_newcomer(node: NodeId, reads: int, topology: Topology) -> None:
    """Raise Conflict when a node that reads versions up to `reads` cannot read the topology that adds it."""
    if (needed := topology.format_version) > reads:
        raise Conflict(
            f"{node} reads topology documents up to version {reads}, and the one that adds it is of "
            f"version {needed}",
            hint=f"start {node} with the release that the members run",
        )


class DocumentVersions:
    def __init__(self, node: NodeId, *, topology: TopologyView, transport: Transport) -> None:
        self._node = node
        self._topology = topology
        self._transport = transport

    def handlers(self) -> Mapping[str, Handler]:
        return {READS: self._answer}

    async def check_read_by_all(self, version: int, within_s: float) -> None:
        """Raises Conflict when a member that answers cannot read documents of this version.

        One that is silent says nothing of itself: it may be the one that is being upgraded.  One whose disk
        was given up may go on in the former cluster (T9).
        """
        topology = self._topology.current
        others = [node for node in topology.standing if node != self._node] if topology else []
        able = await gather_all(self._reads(node, version, within_s) for node in others)
        behind = [node for node, is_able in zip(others, able, strict=True) if not is_able]
        if behind:
            raise Conflict(
                f"{', '.join(behind)} cannot read topology documents of version {version}, which this needs",
                hint="upgrade all members first; `ringmill doctor` names those that run other code",
            )

    async def _reads(self, node: NodeId, version: int, within_s: float) -> bool:
        try:
            answer = await self._transport.call(
                node, READS, b"", timeout_s=within_s, priority=Priority.CONTROL
            )
        except ProtocolMismatch:  # one of an earlier release does not know the question
            return False
        except RingmillError:
            return True
        return answer[:1] >= bytes([version])

    def _answer(self, incoming: Incoming) -> bytes:
        return bytes([FORMAT_VERSION])
