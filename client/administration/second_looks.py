"""Looks at the members again before something is refused because of what they think of each other.

A member that has just started answers whoever asks it, and its neighbours see it up a moment later: once they
have met it, seconds later on a busy machine.  What its state alone speaks against is looked at again for
that long.  A member that does not answer itself is not waited for.

Rule T7: docs/protocol/topology.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sized
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from ringmill.cluster.ids import NodeId

if TYPE_CHECKING:  # what starts nodes asks for no status, and has to begin soon
    from ringmill.client.administration.status import ClusterStatus

__all__ = ["IN_SERVICE", "SEEN_WITHIN_S", "plan_once_seen", "seen_by_all"]

IN_SERVICE: Final = ("up", "slow")
SEEN_WITHIN_S: Final = 4.0
"""How long members may take to see one up that answers; many times what they take on an idle machine."""
_LOOK_EVERY_S: Final = 0.1
_LOOKS_SHARE: Final = 0.75  # of the time of the whole, so that some is left for what the looks are for


class _Plan(Protocol):
    @property
    def short(self) -> Sized:
        """The partitions of which too few owners are up and whole."""
        ...


PlanT = TypeVar("PlanT", bound=_Plan)


Planned = Callable[[Collection[NodeId]], PlanT]
"""The plan as it is when these members are up."""


async def plan_once_seen(
    look: Callable[[], Awaitable[tuple[ClusterStatus, Planned[PlanT]]]], left_s: float
) -> PlanT:
    """The plan, looked at again while it lacks owners that answer and are not seen up yet.

    It is looked at for SEEN_WITHIN_S at most, and for three quarters of the `left_s` seconds that its caller
    has.  Raises what `look` raises.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + min(SEEN_WITHIN_S, left_s * _LOOKS_SHARE)
    while True:
        seen, planned = await look()
        unseen = _unseen(seen)
        up = {NodeId(node.id) for node in seen.nodes if node.pid is not None} - unseen
        plan = planned(up)
        if not (plan.short and unseen) or loop.time() >= until:
            return plan
        if len(planned(up | unseen).short) >= len(plan.short):  # it lacks others
            return plan
        await asyncio.sleep(_LOOK_EVERY_S)


def _unseen(seen: ClusterStatus) -> set[NodeId]:
    """The members that answer, and that others do not see up."""
    return {NodeId(node.id) for node in seen.nodes if node.pid is not None and node.state not in IN_SERVICE}


async def seen_by_all(ask: Callable[[], Awaitable[ClusterStatus]]) -> ClusterStatus:
    """The status, asked again for up to SEEN_WITHIN_S while a member that answers is not seen up by others.

    Raises what `ask` raises.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + SEEN_WITHIN_S
    while True:
        seen = await ask()
        if not _unseen(seen) or loop.time() >= until:
            return seen
        await asyncio.sleep(_LOOK_EVERY_S)
