"""What is checked of a change of the members before it is decided, and once nothing moves any more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import IDENTIFY, STATUS
from ringmill.cluster.errors import Conflict, InvalidArgument, RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.plans.membership import still_moving
from ringmill.cluster.ring.plans.topology_plan import TopologyPlan
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.wire.stubs.membership_pb2 import StatusRequest, StatusResponse
from ringmill.cluster.wire.stubs.topology_pb2 import IdentifyRequest

__all__ = ["SECOND_LOOK_S", "check_dead", "check_fillable", "check_made", "check_settled"]

SECOND_LOOK_S: Final = 10.0
"""A member that starts or stops answers calls and is seen down: for less long than this."""


async def check_dead(
    directory: Directory, topology: Topology, dead: Collection[NodeId], timeout_s: float
) -> bool:
    """Raise InvalidArgument when one of `dead`, whose disks are said to be gone, answers on its disk.

    Moves count a member whose disk is gone as one that knows of them (rule M2), and it may answer no more.
    A firewall may stand between, so the member that is asked for the change looks, too.
    One whose host was taken over goes on to answer whoever asks it: it is as good as gone once all others are
    cut off from it.  True when there is such a one: it may be starting or stopping, so that it is let go by a
    second look of that kind alone.
    """

    async def answers(node: NodeId) -> bool:
        member = topology.member(node)
        try:
            identity = await directory.link(member.address).call(IDENTIFY, IdentifyRequest(), timeout_s)
        except RingmillError as error:
            return error.was_told  # a process that refuses is there: nobody can say that its disk is gone
        return (identity.node, identity.disk) == (member.id, member.disk)

    nodes = list(dict.fromkeys(dead))
    alive = [
        node for node, is_alive in zip(nodes, await gather_all(map(answers, nodes)), strict=True) if is_alive
    ]
    views = await _views(directory, topology, nodes, timeout_s) if alive else []
    reached = [node for node in alive if not _is_cut_off(node, nodes, views)]
    if reached:
        raise InvalidArgument(
            f"{reached[0]} answers on its disk, so that is not gone",
            hint="without --dead a member that is up hands its partitions over; else end its process first, "
            "or cut it off from all other members if its host was taken over",
        )
    return bool(alive)


async def _views(
    directory: Directory, topology: Topology, dead: Collection[NodeId], timeout_s: float
) -> list[StatusResponse | None]:
    """What each member that is not said to be gone tells of the others; None of one that does not answer."""

    async def view(address: str) -> StatusResponse | None:
        try:
            return await directory.link(address).call(STATUS, StatusRequest(), timeout_s)
        except RingmillError:
            return None

    standing = (each for each in topology.members if not each.is_given_up)  # the others answer by no disk
    return await gather_all(view(each.address) for each in standing if each.id not in dead)


def _is_cut_off(node: NodeId, dead: Collection[NodeId], views: Sequence[StatusResponse | None]) -> bool:
    """Whether all members that can judge see it down, and these are most."""
    judging = [view for view in views if view is not None and _can_judge(view, dead)]
    seen = [("down", node) in ((each.state, each.id) for each in view.members) for view in judging]
    return 2 * len(judging) > len(views) and all(seen)


def _can_judge(view: StatusResponse, dead: Collection[NodeId]) -> bool:
    """Not one that sees nobody: it is cut off itself, or its own start is not confirmed yet."""
    others = [each.state for each in view.members if each.id != view.node and each.id not in dead]
    return not others or any(state != "down" for state in others)


def check_settled(plan: TopologyPlan) -> None:
    """Raise Conflict while partitions move: no node can be added until they have come to rest."""
    if plan.unsettled:
        raise still_moving()


def check_fillable(plan: TopologyPlan) -> None:
    """Raise InvalidArgument when too few owners of a partition are up and whole to fill its new copy."""
    if plan.short:
        raise InvalidArgument(
            f"{len(plan.short)} partitions could not be filled: {', '.join(plan.missing)} must be up",
            hint="bring them back first; `ringmill cluster status` shows them",
        )


def check_made(states: Mapping[str, str], add: Collection[str], remove: Collection[str]) -> None:
    """Raise Conflict when the members are as before: somebody gave the plan up, or it gave itself up as a
    node that joins stayed away (rule M7).

    `states` are those of the members by the topology; nothing moves.
    """
    came = [node for node in add if node not in states]
    stayed = [node for node in remove if states.get(node) == "up"]
    if came or stayed:
        who = f"{came[0]} is not a member" if came else f"{stayed[0]} is still a member"
        raise Conflict(
            f"the plan was given up: {who}", hint="`ringmill cluster status` shows whether a node is away"
        )
