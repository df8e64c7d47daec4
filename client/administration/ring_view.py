"""The ring: who owns how much, what a change of the members would move, and what changed between two epochs.

Nothing here changes anything.  Bytes are what nodes tell of the objects that they store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as dataclass_replace
from functools import partial
from hashlib import blake2b
from typing import Final

from ringmill.client.administration.member_plans import check_dead
from ringmill.client.administration.second_looks import Planned, plan_once_seen
from ringmill.client.administration.status import ClusterStatus, checked_status, cluster_status
from ringmill.client.arguments import Seconds, checked_endpoints, checked_name, checked_timeout_s
from ringmill.client.routing.directory import none_reachable
from ringmill.client.routing.links import IDENTIFY, Method
from ringmill.client.routing.router import Router
from ringmill.cluster.errors import InvalidArgument, NotFound, RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.plans.copy_sources import known_sizes
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.moving_rate import MeasuredMoves, MovingRate, measured_rate
from ringmill.cluster.ring.plans.topology_difference import TopologyDifference, difference
from ringmill.cluster.ring.plans.topology_plan import NodeLoad, TopologyPlan, loads_of, plan_changes
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.ring.topology_entries import MAX_EPOCH, Member
from ringmill.cluster.wire.stubs.membership_pb2 import MovingPace, SizesRequest, SizesResponse
from ringmill.cluster.wire.stubs.topology_pb2 import (
    GetFormerTopologyRequest,
    GetFormerTopologyResponse,
    IdentifyRequest,
)

__all__ = ["AsyncRing", "RingView", "above_mean"]

_FORMER: Final = Method("/ringmill.v1.Topology/GetFormer", "", GetFormerTopologyResponse)
_SIZES: Final = Method("/ringmill.v1.Membership/Sizes", "", SizesResponse)
_ASK_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class RingView:
    """The topology, and what each member has beside its fair share.

    `states` are as `status` tells them; `sizes` are the bytes of each partition.
    """

    topology: Topology
    loads: tuple[NodeLoad, ...]
    states: Mapping[str, str]
    sizes: tuple[float, ...]

    def large_partitions(self, times: float = 4.0) -> list[int]:
        """The partitions that hold that many times the mean, largest first."""
        return above_mean(self.sizes, times)

    @property
    def balance(self) -> float:
        """How full the fullest node is: 1 is its fair share."""
        return max(load.fullness for load in self.loads)


class AsyncRing:
    """The ring of a cluster."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def __repr__(self) -> str:
        return "<ring>"

    async def show(self, *, status: ClusterStatus | None = None, timeout: Seconds | None = None) -> RingView:
        """Who owns what now.  With a `status` that was asked just now the members are not asked for it again.

        Raises Unavailable when no member answers.
        """
        until = asyncio.get_running_loop().time() + self._timeout_s(timeout)
        topology, seen, sizes, _ = await self._ask_cluster(until, checked_status(status))
        loads = loads_of(topology, held=_held(seen), sizes=sizes)
        return RingView(topology, loads, {each.id: each.state for each in seen.nodes}, tuple(sizes))

    async def plan(
        self,
        *,
        add: Mapping[str, str] | None = None,
        remove: Collection[str] = (),
        replace: Mapping[str, tuple[str, str]] | None = None,
        weights: Mapping[str, int] | None = None,
        zones: Mapping[str, str] | None = None,
        dead: Collection[str] = (),
        timeout: Seconds | None = None,
    ) -> TopologyPlan:
        """What a change of the members would move, take and bring; changes nothing.

        `add` has the addresses of nodes by their ids; `replace` the id and the address of the node that takes
        the place of another.  Nodes that are to come need not run: the plan does not know their disks.  The
        zone of one that is added is that in `zones`, else the one that it tells if it runs, else "default".
        Without changes it is the plan of what is out of balance.  `dead` are members whose disks are gone.
        Owners that answer and that others do not see up yet, as after a start, are looked at again for a few
        seconds before partitions are told to be `short` of them.
        Raises InvalidArgument for what cannot be done, and for one of `dead` that answers on its disk
        and is not cut off from all others; Unavailable when no member answers.
        """
        ask_s = min(_ASK_S, self._timeout_s(timeout))
        fresh = [_newcomer(node, address) for node, address in (add or {}).items()]
        changes = MemberChanges(
            add=await gather_all(self._in_its_zone(each, ask_s) for each in fresh),
            remove=[_node(node) for node in remove],
            replace={_node(node): _newcomer(*heir) for node, heir in (replace or {}).items()},
            weights={_node(node): _weight(node, weight) for node, weight in (weights or {}).items()},
            zones={_node(node): checked_name("zone", zone) for node, zone in (zones or {}).items()},
        )
        gone = [_node(node) for node in dead]
        until = asyncio.get_running_loop().time() + self._timeout_s(timeout)

        async def look() -> tuple[ClusterStatus, Planned[TopologyPlan]]:
            topology, seen, sizes, rate = await self._ask_cluster(until, None, gone)
            await check_dead(self._router.directory, topology, gone, ask_s)
            damaged = {NodeId(each.id) for each in seen.nodes if each.damaged_ranges or each.unfilled}
            planned = partial(
                plan_changes, topology, changes, dead=gone, held=_held(seen), sizes=sizes, rate=rate
            )
            return seen, lambda up: planned(up={*up} - damaged)

        return await plan_once_seen(look, _left_s(until))

    async def diff(
        self, older: int, newer: int | None = None, *, timeout: Seconds | None = None
    ) -> TopologyDifference:
        """What changed from epoch `older` to epoch `newer`, by default the newest that a member holds.

        Raises NotFound for an epoch that no member remembers: each keeps the documents of the last 64
        epochs that it has seen, or as many as take 256 KiB; Unavailable when no member answers.
        """
        epochs = [_epoch(each) for each in (older, newer) if each is not None]
        until = asyncio.get_running_loop().time() + self._timeout_s(timeout)
        newest = await self._learn(until)
        found = [await self._document(newest, epoch, until) for epoch in epochs]
        return difference(found[0], found[1] if len(found) > 1 else newest)

    async def _document(self, newest: Topology, epoch: int, until: float) -> Topology:
        if epoch == newest.epoch:
            return newest
        addresses = list(newest.addresses().values())
        left_s = min(_ASK_S, _left_s(until))
        replies = await gather_all(self._ask_former(address, epoch, left_s) for address in addresses)
        answers = [each for each in replies if not isinstance(each, RingmillError)]
        if not answers:
            failures = {at: str(each) for at, each in zip(addresses, replies, strict=True)}
            raise none_reachable(addresses, failures)
        document = next((each.document for each in answers if each.document), b"")
        if document:
            return Topology.decode(document)
        known = sorted({each for answer in answers for each in answer.epochs})
        raise NotFound(
            f"epoch {epoch} is remembered by none of the {len(answers)} members that answer",
            hint=f"they remember epochs {known[0]} to {known[-1]}" if known else "",
        )

    async def _ask_former(
        self, address: str, epoch: int, timeout_s: float
    ) -> GetFormerTopologyResponse | RingmillError:
        try:
            link = self._router.directory.link(address)
            return await link.call(_FORMER, GetFormerTopologyRequest(epoch=epoch), timeout_s)
        except RingmillError as error:
            return error

    async def _ask_cluster(
        self, until: float, seen: ClusterStatus | None = None, unheard: Collection[NodeId] = ()
    ) -> tuple[Topology, ClusterStatus, list[float], MovingRate]:
        topology = await self._learn(until)
        left_s = min(_ASK_S, _left_s(until))
        seen = seen or await cluster_status(self._router.directory, left_s, unheard=unheard)
        replies = await gather_all(
            self._ask_sizes(each.address, left_s) for each in seen.nodes if each.pid is not None
        )
        sizes = {
            NodeId(each.node): dict(each.bytes) for each in replies if each is not None and not each.counting
        }
        paces = [_pace(each.moving) for each in replies if each is not None]
        rate = measured_rate(paces, MovingRate())
        return topology, seen, known_sizes(topology, sizes, _held(seen)), rate

    async def _in_its_zone(self, fresh: Member, timeout_s: float) -> Member:
        """The newcomer with the zone that its node names, if it runs already."""
        try:
            identity = await self._router.directory.link(fresh.address).call(
                IDENTIFY, IdentifyRequest(), timeout_s
            )
        except RingmillError:
            return fresh
        return (
            dataclass_replace(fresh, zone=identity.zone)
            if identity.node == fresh.id and identity.zone
            else fresh
        )

    async def _ask_sizes(self, address: str, timeout_s: float) -> SizesResponse | None:
        try:
            return await self._router.directory.link(address).call(_SIZES, SizesRequest(), timeout_s)
        except RingmillError:
            return None  # its status says why; a node of an earlier release does not know the question

    async def _learn(self, until: float) -> Topology:
        directory = self._router.directory
        await directory.learn(_left_s(until))
        assert directory.topology is not None, "it was learned"
        return directory.topology

    def _timeout_s(self, timeout: Seconds | None) -> float:
        return self._router.timeout_s if timeout is None else checked_timeout_s(timeout)


def _left_s(until: float) -> float:
    """What is left until this time of the loop, and a tenth of a second at least."""
    return max(0.1, until - asyncio.get_running_loop().time())


def above_mean(values: Sequence[float], times: float) -> list[int]:
    """Where the values are that exceed their mean by that factor, largest first."""
    mean = sum(values) / len(values)
    return sorted((at for at, each in enumerate(values) if each > times * mean), key=lambda at: -values[at])


def _held(seen: ClusterStatus) -> dict[NodeId, int]:
    return {NodeId(each.id): each.bytes for each in seen.nodes if each.bytes is not None}


def _pace(pace: MovingPace) -> MeasuredMoves:
    return MeasuredMoves(pace.bytes, pace.copies, pace.fill_s, pace.epochs, pace.epochs_s)


def _node(node: str) -> NodeId:
    return NodeId(checked_name("node", node))


def _epoch(epoch: int) -> int:
    if type(epoch) is not int or not 1 <= epoch <= MAX_EPOCH:
        raise InvalidArgument(f"epoch is {str(epoch)[:80]}, need an int of at least 1")
    return epoch


def _weight(node: str, weight: int) -> int:
    if type(weight) is not int:
        raise InvalidArgument(f"weight of {node} is {type(weight).__name__}, need an int")
    return weight


def _newcomer(node: str, address: str) -> Member:
    """With an id in place of its disk's, which it tells when it joins."""
    (checked,) = checked_endpoints([address])
    disk = blake2b(checked_name("node", node).encode(), digest_size=16).hexdigest()
    return Member(NodeId(node), DiskId(disk), checked)
