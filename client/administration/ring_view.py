"""The ring: who owns how much, what a change of the members would move, and what changed between two epochs.

Nothing here changes anything.  Bytes are estimates from what nodes tell in their status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from ringmill.client.administration.status import ClusterStatus, cluster_status
from ringmill.client.arguments import Seconds, checked_endpoints, checked_name, checked_timeout_s
from ringmill.client.routing.router import Router
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.topology_plan import NodeLoad, TopologyPlan, loads_of, plan_changes
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.ring.topology_entries import Member

__all__ = ["AsyncRing", "RingView"]

_ASK_S: Final = 2.0
_WHOLE: Final = ("up", "slow")


@dataclass(frozen=True, slots=True)
class RingView:
    """The topology, and what each member has beside its fair share.  `states` are as `status` tells them."""

    topology: Topology
    loads: tuple[NodeLoad, ...]
    states: Mapping[str, str]

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

    async def show(self, *, timeout: Seconds | None = None) -> RingView:
        """Who owns what now.  Raises Unavailable when no member answers."""
        topology, seen = await self._look(timeout)
        return RingView(
            topology, loads_of(topology, held=_held(seen)), {each.id: each.state for each in seen.nodes}
        )

    async def plan(
        self,
        *,
        add: Mapping[str, str] | None = None,
        remove: Collection[str] = (),
        replace: Mapping[str, tuple[str, str]] | None = None,
        weights: Mapping[str, int] | None = None,
        zones: Mapping[str, str] | None = None,
        timeout: Seconds | None = None,
    ) -> TopologyPlan:
        """What a change of the members would move, take and bring; changes nothing.

        `add` has the addresses of nodes by their ids; `replace` the id and the address of the node that takes
        the place of another.  Nodes that are to come need not run: the plan does not know their disks.
        Without changes it is the plan of what is out of balance.  Raises InvalidArgument for what cannot be
        done; Unavailable when no member answers.
        """
        changes = MemberChanges(
            add=[_newcomer(node, address) for node, address in (add or {}).items()],
            remove=[_node(node) for node in remove],
            replace={_node(node): _newcomer(*heir) for node, heir in (replace or {}).items()},
            weights={_node(node): _weight(node, weight) for node, weight in (weights or {}).items()},
            zones={_node(node): checked_name("zone", zone) for node, zone in (zones or {}).items()},
        )
        topology, seen = await self._look(timeout)
        up = {NodeId(each.id) for each in seen.nodes if each.state in _WHOLE and each.pid is not None}
        damaged = {NodeId(each.id) for each in seen.nodes if each.damaged_ranges or each.unfilled}
        return plan_changes(topology, changes, up=up - damaged, held=_held(seen))

    async def _look(self, timeout: Seconds | None) -> tuple[Topology, ClusterStatus]:
        timeout_s = self._router.timeout_s if timeout is None else checked_timeout_s(timeout)
        directory = self._router.directory
        began = asyncio.get_running_loop().time()
        await directory.learn(timeout_s)
        left_s = timeout_s - (asyncio.get_running_loop().time() - began)
        seen = await cluster_status(directory, max(0.1, min(_ASK_S, left_s)))
        assert directory.topology is not None, "it was learned"
        return directory.topology, seen


def _held(seen: ClusterStatus) -> dict[NodeId, int]:
    return {NodeId(each.id): each.bytes for each in seen.nodes if each.bytes is not None}


def _node(node: str) -> NodeId:
    return NodeId(checked_name("node", node))


def _weight(node: str, weight: int) -> int:
    if type(weight) is not int:
        raise InvalidArgument(f"weight of {node} is {type(weight).__name__}, need an int")
    return weight


def _newcomer(node: str, address: str) -> Member:
    """With an id in place of its disk's, which it tells when it joins."""
    (checked,) = checked_endpoints([address])
    disk = blake2b(checked_name("node", node).encode(), digest_size=16).hexdigest()
    return Member(NodeId(node), DiskId(disk), checked)
