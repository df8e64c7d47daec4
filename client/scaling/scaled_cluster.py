"""What the autoscaler sees of a cluster, and what it asks of it, by the same calls as `cluster add`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from ringmill.client.administration.member_plans import check_fillable
from ringmill.client.administration.moves_view import MovesView
from ringmill.client.administration.status import ClusterStatus
from ringmill.client.connection import AsyncClient
from ringmill.cluster.ring.topology import Topology

__all__ = ["ConnectedCluster", "Look", "ScaledCluster"]

_AWAY: Final = ("suspect", "down")


@dataclass(frozen=True, slots=True)
class Look:
    """The cluster at one moment, as its members tell it."""

    topology: Topology
    status: ClusterStatus
    moves: MovesView

    @property
    def states(self) -> Mapping[str, str]:
        """The members by the word of the topology: up, joining, leaving."""
        return {member.id: member.state for member in self.topology.members}

    @property
    def blocker(self) -> str:
        """Why the members must not be changed now; "" when nothing speaks against it."""
        if away := [f"{node.id} is {node.state}" for node in self.status.nodes if node.state in _AWAY]:
            return ", ".join(away)
        if not self.moves.is_over:
            names = [f"{node} joins" for node in self.moves.joining]
            names += [f"{node} leaves" for node in self.moves.leaving]
            state = "moves are paused" if self.moves.is_paused else "partitions move"
            return ", ".join([f"{state}, {self.moves.left} seats are left", *names])
        if hurt := [node.id for node in self.status.nodes if node.damaged_ranges or node.unfilled]:
            return f"{', '.join(hurt)} is to be filled from other owners"
        return ""

    @property
    def keeps(self) -> str:
        """Why no node may leave now; "" when nothing speaks against it."""
        return ", ".join(f"{node.id} is slow" for node in self.status.nodes if node.state == "slow")


class ScaledCluster(Protocol):
    """A cluster whose members come and go.  All calls raise RingmillError when it does not answer."""

    async def look(self) -> Look:
        """The newest that its members tell."""

    async def removal_bytes(self, node: str) -> int:
        """About how many bytes the removal of `node` would move.

        Raises InvalidArgument for a removal that cannot be done now.
        """

    async def add(self, node: str, address: str) -> int:
        """Have it decided that `node` joins; the epoch in which it is."""

    async def remove(self, node: str) -> int:
        """Have it decided that `node` leaves; the epoch in which it is."""

    async def wait_for_majority(self) -> None:
        """Return once a majority of the voters holds the newest document, when nothing moves."""


class ConnectedCluster:
    """The cluster of a client."""

    def __init__(self, db: AsyncClient) -> None:
        self._db = db

    async def look(self) -> Look:
        """The topology, status and moves that members tell of now."""
        moves = await self._db.members.moves()
        status = await self._db.status()
        return Look(self._db.topology, status, moves)

    async def removal_bytes(self, node: str) -> int:
        """The bytes in the plan of a removal.  Raises InvalidArgument when that cannot be done now."""
        plan = await self._db.ring.plan(remove=[node])
        check_fillable(plan)
        return plan.size_bytes

    async def add(self, node: str, address: str) -> int:
        """Ask the members to let `node` join; the epoch in which that is decided."""
        check_fillable(await self._db.ring.plan(add={node: address}))
        return (await self._db.members.change(add={node: address})).epoch

    async def remove(self, node: str) -> int:
        """Ask the members to let `node` leave; the epoch in which that is decided."""
        check_fillable(await self._db.ring.plan(remove=[node]))
        return (await self._db.members.change(remove=[node])).epoch

    async def wait_for_majority(self) -> None:
        """Wait for a majority: a node that has left knows it first, so others have to know it, too."""
        await self._db.members.resume_moves()
