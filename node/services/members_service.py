"""The Members service: members come and go, lost disks are replaced, lost members are given up.

What a change does to the document stands in cluster/ring/plans/membership.py, cluster/ring/moves.py (rule M7)
and cluster/ring/replacement.py, how it comes about in node/membership/epoch_proposer.py.

Rule T11: docs/protocol/topology.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from ringmill.cluster.errors import Conflict, InvalidArgument, Unavailable
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.document import UNTOLD_VERSION
from ringmill.cluster.ring.moves import aborted, paused
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.replacement import replaced
from ringmill.cluster.ring.topology import Member, Owner, Topology
from ringmill.cluster.wire.stubs.members_pb2 import (
    ChangeMembersRequest,
    ChangeMembersResponse,
    GetMovesRequest,
    GetMovesResponse,
    JoinRequest,
    JoinResponse,
    NewMember,
    RecoverRequest,
    RecoverResponse,
    ReplaceDiskRequest,
    ReplaceDiskResponse,
    SteerMovesRequest,
)
from ringmill.node.membership.epoch_proposer import TopologyChange
from ringmill.node.membership.letting_join import refuse_former_disk, share_to_ask
from ringmill.node.membership.room import Membership
from ringmill.node.membership.upgrades.document_versions import check_read_by_newcomer
from ringmill.node.moves.room import Moves
from ringmill.node.requests.request_limits import time_allowed
from ringmill.node.services.table import Call, Service, unary

__all__ = ["MembersService"]

_SHARE_TO_LOOK: Final = 0.6
"""The share of the time for a change after which a member that was killed just now is seen down."""


class MembersService:
    def __init__(self, membership: Membership, moves: Moves) -> None:
        self._membership = membership
        self._moves = moves

    def service(self) -> Service:
        methods = {
            "ReplaceDisk": unary(ReplaceDiskRequest, self._replace_disk),
            "Change": unary(ChangeMembersRequest, self._change),
            "SteerMoves": unary(SteerMovesRequest, self._steer_moves),
            "GetMoves": unary(GetMovesRequest, self._get_moves),
            "Join": unary(JoinRequest, self._join),
            "Recover": unary(RecoverRequest, self._recover),
        }
        return Service("ringmill.v1.Members", methods)

    async def _change(self, request: ChangeMembersRequest, call: Call) -> ChangeMembersResponse:
        """Raises InvalidArgument, Conflict; of the voters what a change of the topology raises; what
        `_check_gone` raises."""
        fresh = {each.node: _member(each) for each in request.add}
        changes = MemberChanges(
            add=[fresh[each.node] for each in request.add if not each.in_place_of],
            remove=[NodeId(node) for node in request.remove],
            replace={NodeId(each.in_place_of): fresh[each.node] for each in request.add if each.in_place_of},
            weights={NodeId(node): weight for node, weight in request.weights.items()},
            zones={NodeId(node): zone for node, zone in request.zones.items()},
        )
        dead = {NodeId(node) for node in request.dead}
        allowed_s = time_allowed(request.timeout_ms / 1000, call.left_s)
        allowed_s -= await self._check_gone(dead, _SHARE_TO_LOOK * allowed_s)
        asked_s = share_to_ask(allowed_s) if fresh else 0.0
        disks = [member.disk for member in fresh.values()]
        reads = {NodeId(each.node): each.reads for each in request.add}
        starts = self._membership.starts
        former = await starts.former_disks(disks, asked_s)

        def change(topology: Topology, may_be_done: bool) -> Topology | None:
            following = with_members(topology, changes, dead)
            if following is None:
                return None
            for member in fresh.values():
                refuse_former_disk(starts, former, member)
                # a client of the release before does not tell it
                if reads[member.id] and not topology.has_member(member.id):
                    check_read_by_newcomer(member.id, reads[member.id], following)
            return following

        return await self._made(change, allowed_s - asked_s)

    async def _check_gone(self, dead: Collection[NodeId], within_s: float) -> float:
        """Look at members whose disks are said to be gone; how many seconds that took.

        The operator's machine may not reach one that is well.  Raises InvalidArgument when one of them
        answers this node on that disk, Unavailable when the members have not found it down (rule M2), or
        it is this node.
        """
        topology = self._membership.topology.current
        members = topology.members if dead and topology is not None else ()
        seats = [
            each.seat for each in members if each.id in dead and each.state != "gone" and not each.is_given_up
        ]
        if own := [seat.node for seat in seats if self._membership.starts.is_own(seat)]:
            raise Unavailable(
                f"{own[0]} was asked to give itself up", hint="ask another member", outcome="failed"
            )
        began_s = asyncio.get_running_loop().time()
        await self._check_silent(seats)
        liveness = self._membership.liveness
        up = [seat for seat in seats if liveness.is_up(seat.node)]
        if up:
            downs = await gather_all(liveness.is_down_within(seat.node, within_s) for seat in up)
            await self._check_silent(up)
            up = [seat for seat, is_down in zip(up, downs, strict=True) if not is_down]
        if up:
            raise Unavailable(
                f"{up[0].node} is not seen down by the members yet",
                hint="end its process, and ask again in some seconds",
                outcome="failed",
            )
        return asyncio.get_running_loop().time() - began_s

    async def _check_silent(self, seats: Sequence[Owner]) -> None:
        answer = await gather_all(self._membership.starts.answers(seat) for seat in seats)
        if alive := [seat.node for seat, is_alive in zip(seats, answer, strict=True) if is_alive]:
            raise InvalidArgument(
                f"{alive[0]} answers on its disk, so that is not gone",
                hint="without --dead a member that is up hands its partitions over; else end its process",
            )

    async def _steer_moves(self, request: SteerMovesRequest, call: Call) -> ChangeMembersResponse:
        """Raises InvalidArgument when there is nothing to pause; else as `_change`."""
        verb = request.verb

        def change(topology: Topology, may_be_done: bool) -> Topology | None:
            if verb == SteerMovesRequest.ABORT:
                return aborted(topology)
            return paused(topology, is_paused=verb == SteerMovesRequest.PAUSE)

        return await self._made(change, time_allowed(request.timeout_ms / 1000, call.left_s))

    async def _get_moves(self, request: GetMovesRequest, call: Call) -> GetMovesResponse:
        held_back = {int(partition): why for partition, why in self._moves.held_back.items()}
        return GetMovesResponse(
            moved_bytes=self._moves.filling.moved_bytes, held_back=held_back, hints=self._moves.mover.hints
        )

    async def _made(self, change: TopologyChange, allowed_s: float) -> ChangeMembersResponse:
        changed = await self._membership.epochs.change(change, allowed_s)
        return ChangeMembersResponse(epoch=changed.topology.epoch, changed=changed.was_made)

    async def _join(self, request: JoinRequest, call: Call) -> JoinResponse:
        """Raises PermissionDenied, InvalidArgument, Conflict; what a change of the topology raises."""
        newcomer = _member(request.member)
        newcomer.check()
        allowed_s = time_allowed(request.timeout_ms / 1000, call.left_s)
        admit = self._membership.joins.admit
        admitted = await admit(
            request.grant,
            request.proof,
            request.nonce,
            newcomer,
            allowed_s,
            reads=request.member.reads or UNTOLD_VERSION,
        )
        return JoinResponse(epoch=admitted.epoch, sealed=admitted.sealed)

    async def _recover(self, request: RecoverRequest, call: Call) -> RecoverResponse:
        """Raises InvalidArgument, Unavailable as node/membership/recovering.py."""
        lost = {NodeId(node) for node in request.lost}
        topology, is_made = await self._membership.recovering.go_on_without(lost)
        return RecoverResponse(epoch=topology.epoch, cluster=topology.cluster, changed=is_made)

    async def _replace_disk(self, request: ReplaceDiskRequest, call: Call) -> ReplaceDiskResponse:
        """Raises Conflict for a disk that was in the cluster before: its data is an old copy (I2)."""
        node, former, disk = NodeId(request.node), DiskId(request.former), DiskId(request.disk)
        allowed_s = time_allowed(request.timeout_ms / 1000, call.left_s)
        asked_s = share_to_ask(allowed_s)
        starts = self._membership.starts
        were_here = await starts.former_disks([disk], asked_s)

        def change(topology: Topology, may_be_done: bool) -> Topology | None:
            following = replaced(topology, node, former, disk)
            is_former = disk in were_here or starts.knows(disk)
            if following is not None and is_former:
                raise Conflict(
                    f"disk {disk} of {node} was in the cluster before, and has forgotten what came after",
                    hint="`ringmill node reset DIR` makes its folder that of an empty disk",
                )
            return following

        changed = await self._membership.epochs.change(change, allowed_s - asked_s)
        return ReplaceDiskResponse(epoch=changed.topology.epoch, changed=changed.was_made)


def _member(newcomer: NewMember) -> Member:
    zone = newcomer.zone or "default"
    node, disk = NodeId(newcomer.node), DiskId(newcomer.disk)
    return Member(node, disk, newcomer.address, zone=zone, weight=newcomer.weight or 1)
