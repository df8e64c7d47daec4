"""Members: a node that lost its disk gets its place back, on a new and empty disk, and is filled again.

The voters of the cluster decide it as the next topology epoch.  From then on the former disk is refused, and
the new one answers nothing about a partition until the other owners have filled it.  All calls can be made
again.  Promises: docs/guarantees.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from google.protobuf.message import Message

from ringmill.client.administration import member_plans
from ringmill.client.administration.healing_view import HealingView, ask_healing
from ringmill.client.administration.moves_view import (
    CHANGE,
    STEER,
    MembersChanged,
    MovesView,
    moves_of,
)
from ringmill.client.administration.second_looks import Planned, plan_once_seen
from ringmill.client.administration.status import ClusterStatus, cluster_status
from ringmill.client.arguments import Seconds, checked_endpoints, checked_name, checked_timeout_s
from ringmill.client.routing.links import IDENTIFY, Method
from ringmill.client.routing.router import Prepare, Router, Target
from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, Unavailable
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.document import UNTOLD_VERSION
from ringmill.cluster.ring.recovery import RecoveryPlan, check_recoverable, plan_recovery
from ringmill.cluster.ring.replacement import ReplacementPlan, check_safe, plan_replacement
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.wire.stubs.members_pb2 import (
    ChangeMembersRequest,
    ChangeMembersResponse,
    NewMember,
    RecoverRequest,
    RecoverResponse,
    ReplaceDiskRequest,
    ReplaceDiskResponse,
    SteerMovesRequest,
)
from ringmill.cluster.wire.stubs.topology_pb2 import IdentifyRequest, IdentifyResponse

__all__ = ["AsyncMembers", "Recovery", "Replacement"]

_REPLACE: Final = Method("/ringmill.v1.Members/ReplaceDisk", "", ReplaceDiskResponse, is_write=True)
_RECOVER: Final = Method("/ringmill.v1.Members/Recover", "", RecoverResponse, is_write=True)
_ASK_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Replacement:
    """The topology of `epoch` names `disk` of `node`.

    `changed` is whether the call that returned this has done it: False when it was so before.
    """

    node: str
    disk: str
    epoch: int
    changed: bool


@dataclass(frozen=True, slots=True)
class Recovery:
    """The cluster goes on as `cluster`, from `epoch` on, without the members `lost`.

    `changed` is whether the call that returned this has done it: False when it was so before.
    """

    lost: tuple[str, ...]
    cluster: str
    epoch: int
    changed: bool


class AsyncMembers:
    """The members of a cluster."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def __repr__(self) -> str:
        return "<members>"

    async def plan_replacement(self, node: str, *, timeout: Seconds | None = None) -> ReplacementPlan:
        """What it means to give `node` its place back on the disk that it runs on now; changes nothing.

        A plan that `is_made` says that the node runs on the disk that it is known by.  Owners that answer and
        that others do not see up yet, as after a start, are looked at again for a few seconds.  Raises
        InvalidArgument when there is no such member, and when its disk has been in a cluster; Unavailable
        when it does not run.
        """
        until = self._until(timeout)
        topology = await self._newest_known(until)
        member = topology.member(NodeId(checked_name("node", node)))
        identity = await self._identify(topology, member.id, until)
        if identity.disk == member.disk:
            return self._plan_for(topology, member.id)
        if identity.cluster:
            raise InvalidArgument(
                f"{node} runs on disk {identity.disk}, which has been in a cluster and may be an old copy",
                hint="end the node; `ringmill node reset DIR` makes its folder that of an empty disk",
            )
        disk = DiskId(identity.disk)

        async def look() -> tuple[ClusterStatus, Planned[ReplacementPlan]]:
            seen = await cluster_status(self._router.directory, min(_ASK_S, self._left(until)))
            damaged = {NodeId(each.id) for each in seen.nodes if each.damaged_ranges}
            sizes = {NodeId(each.id): each.bytes for each in seen.nodes if each.bytes is not None}
            planned = partial(
                plan_replacement, topology, member.id, disk, sizes=sizes, counts=seen.keys_by_node()
            )
            return seen, lambda up: planned(whole={*up} - damaged)

        return await plan_once_seen(look, self._left(until))

    async def replace(
        self, node: str, *, accept_data_loss: bool = False, timeout: Seconds | None = None
    ) -> Replacement:
        """Give `node` its place back on the new, empty disk that it runs on now.

        With `accept_data_loss` also when too few other owners of a partition are up and whole.  Such a
        partition then waits for them, until they are back or `heal_without` gives them up.

        The former disk counts as gone, whatever it held.  When this returns, the cluster has
        decided; `status` tells how much of the new disk is not filled yet.  Raises what `plan_replacement`
        raises; InvalidArgument also when too few other owners of a partition are up and whole to know every
        acknowledged write, and that was not accepted, or when there are none; QuorumNotReached, which names
        the voters that did not answer, DeadlineExceeded or Unavailable: with the outcome "unknown" it may
        have been decided, or may still be.
        """
        until = self._until(timeout)
        plan = await self.plan_replacement(node, timeout=self._left(until))
        if plan.is_made:
            return Replacement(plan.node, plan.disk, (await self._newest_known(until)).epoch, changed=False)
        check_safe(plan, accepts_loss=accept_data_loss)
        return await self._replace(plan, until)

    async def change(
        self,
        *,
        add: Mapping[str, str] | None = None,
        remove: Collection[str] = (),
        dead: Collection[str] = (),
        replace: Mapping[str, tuple[str, str]] | None = None,
        weights: Mapping[str, int] | None = None,
        zones: Mapping[str, str] | None = None,
        timeout: Seconds | None = None,
    ) -> MembersChanged:
        """Add and remove members, or give them other weights or zones; partitions move until that is so.

        `add` has the addresses of nodes by their ids; each runs there on an empty data folder.  `replace` has
        the id and the address of the node that takes the place of another.  Of those in `remove` or `replace`
        that are also in `dead` the disks are gone, so nobody waits for them.  When this returns, the cluster
        has decided; `moves` tells how it goes.  `db.ring.plan` tells before what it costs.

        Raises InvalidArgument for what cannot be done, and for one of `dead` that answers on its disk, unless
        most others say twice, 10 s apart, that they are cut off from it (these seconds are added to the
        timeout of the client; a `timeout` has to have room for them); Conflict while partitions move by an
        earlier change, Unavailable when a node that is to come does not run; QuorumNotReached, which names
        the voters that did not answer, DeadlineExceeded or Unavailable: with the outcome "unknown" it may
        have been decided.
        """
        until = self._until(timeout)
        topology = await self._newest_known(until)
        heirs = {heir: (address, node) for node, (heir, address) in (replace or {}).items()}
        comers = {node: (address, "") for node, address in (add or {}).items()} | heirs
        fresh = [
            await self._newcomer(checked_name("node", node), address, place, until)
            for node, (address, place) in comers.items()
        ]
        for node in (*remove, *dead, *(replace or {}), *(weights or {}), *(zones or {})):
            if not any(each.node == node for each in fresh):
                topology.member(NodeId(checked_name("node", node)))

        gone = [NodeId(node) for node in dead]
        if await member_plans.check_dead(
            self._router.directory, topology, gone, min(_ASK_S, self._left(until))
        ):
            until = await self._look_again(topology, gone, until, is_given=timeout is not None)

        def prepare(epoch: int, timeout_ms: int, attempt: int) -> Message:
            return ChangeMembersRequest(
                add=fresh, remove=remove, dead=dead, weights=weights, zones=zones, timeout_ms=timeout_ms
            )

        gone_at = frozenset(topology.member(node).address for node in gone)
        return await self._send_change(CHANGE, prepare, until, others_than=gone_at)

    async def moves(self, *, timeout: Seconds | None = None) -> MovesView:
        """What moves now, and what it waits for.  Raises Unavailable when no member answers."""
        until = self._until(timeout)
        topology = await self._newest_known(until)
        return await moves_of(self._router.directory, topology, min(_ASK_S, self._left(until)))

    async def pause_moves(self, *, timeout: Seconds | None = None) -> MembersChanged:
        """Begin no further move; what is under way goes on to its end.  Raises as `change`."""
        return await self._steer(SteerMovesRequest.PAUSE, timeout)

    async def resume_moves(self, *, timeout: Seconds | None = None) -> MembersChanged:
        """Go on with what was paused.  Raises as `change`."""
        return await self._steer(SteerMovesRequest.RESUME, timeout)

    async def abort_moves(self, *, timeout: Seconds | None = None) -> MembersChanged:
        """Give the plan up: each partition stays with the owners that it has then.  Raises as `change`."""
        return await self._steer(SteerMovesRequest.ABORT, timeout)

    async def _steer(self, verb: SteerMovesRequest.Verb.ValueType, timeout: Seconds | None) -> MembersChanged:
        def prepare(epoch: int, timeout_ms: int, attempt: int) -> Message:
            return SteerMovesRequest(verb=verb, timeout_ms=timeout_ms)

        return await self._send_change(STEER, prepare, self._until(timeout))

    async def _send_change(
        self,
        method: Method[ChangeMembersResponse],
        prepare: Prepare,
        until: float,
        *,
        others_than: frozenset[str] = frozenset(),
    ) -> MembersChanged:
        """Send a change to a member.

        `others_than` are addresses of nodes that are said to be gone: whoever took over such a host could
        answer in their place.
        """
        target = Target("", b"", others_than=others_than) if others_than else None
        answer = await self._router.ask(method, prepare, target=target, timeout_s=self._left(until))
        await self._router.directory.catch_up(answer.epoch, max(0.0, until - _now()))
        return MembersChanged(answer.epoch, answer.changed)

    async def _newcomer(self, node: str, address: str, in_place_of: str, until: float) -> NewMember:
        """A node that is to come, as it tells of itself.  Raises Unavailable, InvalidArgument."""
        (address,) = checked_endpoints([address])
        identity = await self._identify_at(node, address, until)
        return NewMember(
            node=node,
            disk=identity.disk,
            address=address,
            zone=identity.zone,
            weight=1,
            in_place_of=in_place_of,
            reads=identity.reads or UNTOLD_VERSION,
        )

    async def plan_recovery(self, lost: Collection[str], *, timeout: Seconds | None = None) -> RecoveryPlan:
        """What it means to go on without the members `lost`, which are gone permanently; changes nothing.

        Raises InvalidArgument when they are not members, all of them, or have less than half of the votes.
        """
        until = self._until(timeout)
        topology = await self._newest_known(until)
        seen = await cluster_status(self._router.directory, min(_ASK_S, self._left(until)))
        names = [NodeId(checked_name("node", node)) for node in lost]
        unfilled = {NodeId(each.id): each.unfilled or 0 for each in seen.nodes}
        return plan_recovery(topology, names, seen.keys_by_node(), unfilled)

    async def recover(self, lost: Collection[str], *, timeout: Seconds | None = None) -> Recovery:
        """Go on without the members `lost`, as a cluster with another id.

        Their disks are refused from then on; `replace` gives each an empty one.  What only they had is lost,
        changes of keyspaces, too.  Give this word once: two words that name other members make two clusters.
        Raises what `plan_recovery` raises; InvalidArgument when one of them answers, or a member that was not
        named does not; Unavailable or DeadlineExceeded: then ask again, which is safe.
        """
        until = self._until(timeout)
        topology = await self._newest_known(until)
        names = [NodeId(checked_name("node", node)) for node in lost]
        check_recoverable(topology, names)
        standing = (member for member in topology.members if not member.is_given_up)
        left = next(member for member in standing if member.id not in names)
        link = self._router.directory.link(left.address)
        answer = await link.call(_RECOVER, RecoverRequest(lost=names), self._left(until))
        await self._router.directory.catch_up(answer.epoch, max(0.0, until - _now()))
        return Recovery(tuple(names), answer.cluster, answer.epoch, answer.changed)

    async def healing(self, node: str, *, timeout: Seconds | None = None) -> HealingView:
        """What is still to be filled on the disk of `node`, and which owners that waits for; changes nothing.

        Raises InvalidArgument when there is no such member; Unavailable when it does not answer.
        """
        return await self.heal_without(node, (), timeout=timeout)

    async def heal_without(
        self, node: str, owners: Collection[str], *, timeout: Seconds | None = None
    ) -> HealingView:
        """Fill what is damaged on `node` now without `owners`: what only they and `node` had is lost.

        Where all other owners are named, what survived on `node` is all that a partition is filled with.  It
        returns at once; `healing` tells how it goes on.  Raises what `healing` raises, and InvalidArgument
        for an owner that is not waited for.
        """
        until = self._until(timeout)
        await self._newest_known(until)
        name = NodeId(checked_name("node", node))
        return await ask_healing(self._router.directory, name, self._left(until), without=owners)

    async def _replace(self, plan: ReplacementPlan, until: float) -> Replacement:
        def prepare(epoch: int, timeout_ms: int, attempt: int) -> Message:
            return ReplaceDiskRequest(
                node=plan.node, former=plan.former, disk=plan.disk, timeout_ms=timeout_ms
            )

        answer = await self._router.ask(_REPLACE, prepare, timeout_s=self._left(until))
        await self._router.directory.catch_up(answer.epoch, max(0.0, until - _now()))
        return Replacement(plan.node, plan.disk, answer.epoch, answer.changed)

    async def _identify(self, topology: Topology, node: NodeId, until: float) -> IdentifyResponse:
        return await self._identify_at(node, topology.member(node).address, until)

    async def _identify_at(self, node: str, address: str, until: float) -> IdentifyResponse:
        try:
            link = self._router.directory.link(address)
            identity = await link.call(IDENTIFY, IdentifyRequest(), min(_ASK_S, self._left(until)))
        except (Unavailable, DeadlineExceeded) as error:
            raise Unavailable(
                f"{node} does not run at {address}: {error.message}",
                hint="start it on an empty data folder first, as the topology names its disk; it needs the "
                "cluster's token in its --token-file",
            ) from error
        if identity.node != node:
            raise InvalidArgument(f"{address} is answered by {identity.node}, not by {node}")
        return identity

    async def _look_again(
        self, topology: Topology, gone: Collection[NodeId], until: float, *, is_given: bool
    ) -> float:
        """Check a while later that members which answer are still cut off; until when there is time then.

        A timeout that was not given for this call has the time in between added.
        """
        if not is_given:
            until += member_plans.SECOND_LOOK_S
        elif self._left(until) <= member_plans.SECOND_LOOK_S:
            raise DeadlineExceeded(
                f"a member that answers is looked at twice, {member_plans.SECOND_LOOK_S:.0f} s apart, and "
                f"there is too little time to let {', '.join(gone)} go",
                hint="give a longer timeout, or none",
                outcome="failed",
            )
        await asyncio.sleep(member_plans.SECOND_LOOK_S)
        ask_s = min(_ASK_S, self._left(until))
        await member_plans.check_dead(self._router.directory, topology, gone, ask_s)
        return until

    async def _newest_known(self, until: float) -> Topology:
        """The topology as any member tells it: the plan is checked again by the voters."""
        directory = self._router.directory
        await directory.learn(self._left(until))
        assert directory.topology is not None, "it was learned"
        return directory.topology

    def _plan_for(self, topology: Topology, node: NodeId) -> ReplacementPlan:
        disk = topology.member(node).disk
        whole = topology.addresses().keys()
        return plan_replacement(topology, node, disk, whole=whole, sizes={}, counts={})

    def _until(self, timeout: Seconds | None) -> float:
        return _now() + (self._router.timeout_s if timeout is None else checked_timeout_s(timeout))

    def _left(self, until: float) -> float:
        """Raises DeadlineExceeded."""
        if (left_s := until - _now()) <= 0:
            raise DeadlineExceeded("the members did not answer before the deadline", outcome="failed")
        return left_s


def _now() -> float:
    return asyncio.get_running_loop().time()
