"""The Members service: a lost disk is replaced, lost members are given up.  Decodes, calls, encodes.

What the change does to the document stands in cluster/ring/replacement.py, how it comes about in
node/membership/epoch_proposer.py.
"""

from __future__ import annotations

from ringmill.cluster.errors import Conflict
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.replacement import replaced
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.wire.stubs.members_pb2 import (
    RecoverRequest,
    RecoverResponse,
    ReplaceDiskRequest,
    ReplaceDiskResponse,
)
from ringmill.node.membership.room import Membership
from ringmill.node.requests.request_limits import time_allowed
from ringmill.node.services.table import Call, Service, unary

__all__ = ["MembersService"]


class MembersService:
    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    def service(self) -> Service:
        methods = {
            "ReplaceDisk": unary(ReplaceDiskRequest, self._replace_disk),
            "Recover": unary(RecoverRequest, self._recover),
        }
        return Service("ringmill.v1.Members", methods)

    async def _recover(self, request: RecoverRequest, call: Call) -> RecoverResponse:
        """Raises InvalidArgument, Unavailable as node/membership/recovering.py."""
        lost = {NodeId(node) for node in request.lost}
        topology, is_made = await self._membership.recovering.go_on_without(lost)
        return RecoverResponse(epoch=topology.epoch, cluster=topology.cluster, changed=is_made)

    async def _replace_disk(self, request: ReplaceDiskRequest, call: Call) -> ReplaceDiskResponse:
        """Raises Conflict for a disk that was in the cluster before: its data is an old copy (I2)."""
        node, former, disk = NodeId(request.node), DiskId(request.former), DiskId(request.disk)

        def change(topology: Topology, may_be_done: bool) -> Topology | None:
            following = replaced(topology, node, former, disk)
            if following is not None and self._membership.starts.remembered(disk) is not None:
                raise Conflict(
                    f"disk {disk} of {node} was in the cluster before, and has forgotten what came after",
                    hint="`ringmill node reset DIR` makes its folder that of an empty disk",
                )
            return following

        allowed_s = time_allowed(request.timeout_ms / 1000, call.left_s)
        told = await self._membership.epochs.change(change, allowed_s)
        return ReplaceDiskResponse(epoch=told.topology.epoch, changed=told.was_made)
