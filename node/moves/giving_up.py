"""Gives a plan up when a node that joins partitions stays away, or is up and stands still.

Any member may say that one stays away, and any voter that one stands still, one after the other.

Rule M7: docs/protocol/moves.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Clock
from ringmill.cluster.ring.joiners.away_joiners import AwayJoiners
from ringmill.cluster.ring.joiners.standing_joiners import STANDS_S, StandingJoiners, joint_rows
from ringmill.cluster.ring.moves import aborted
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import LivenessView, TopologyView
from ringmill.node.moves.mover import Advance

__all__ = ["GivingUp"]

LOOK_S: Final = 5.0
TURN_S: Final = 10.0
"""By so much a member waits for each one before it that is up to say it first."""
CHANGE_S: Final = 10.0
LATE_S: Final = 1.0
Ask = Callable[[NodeId], Awaitable[tuple[int, str]]]
"""The steps of a joiner since its start, and why it waits.  Raises RingmillError."""
_log = logging.getLogger(__name__)


class GivingUp:
    """`run` for as long as the node lives.  While nothing moves it has no timer."""

    def __init__(
        self,
        node: NodeId,
        *,
        topology: TopologyView,
        liveness: LivenessView,
        ask: Ask,
        change: Advance,
        clock: Clock,
    ) -> None:
        self._node = node
        self._topology = topology
        self._liveness = liveness
        self._ask = ask
        self._change = change
        self._clock = clock
        self._joiners = AwayJoiners()
        self._standing = StandingJoiners()
        self._moves = asyncio.Event()

    def take(self, topology: Topology) -> None:
        """A document is held from now on."""
        if topology.is_moving:
            self._moves.set()
        else:
            self._moves.clear()
            self._forget()

    async def run(self) -> None:
        while await self._moves.wait():
            topology = self._topology.current
            if topology is not None and self._topology.serving:
                await self._look(topology)
            else:
                self._forget()
            due = self._clock.boottime() + LOOK_S
            await asyncio.sleep(LOOK_S)
            # This process stood still, or the machine slept, so who was up meanwhile is not known.
            if self._clock.boottime() > due + LATE_S:
                self._forget()

    def _forget(self) -> None:
        self._joiners.forget()
        self._standing.forget()

    async def _look(self, topology: Topology) -> None:
        now, later_s = asyncio.get_running_loop().time(), TURN_S * self._place(topology)
        found = self._joiners.look(topology, self._liveness.is_up, now, later_s=later_s)
        if found is not None:
            await self._give_up_away(*found, was_paused=topology.is_paused)
        elif self._node in topology.voter_nodes:
            await self._look_at_standing(topology, now, later_s)

    async def _look_at_standing(self, topology: Topology, now: float, later_s: float) -> None:
        why: dict[NodeId, str] = {}
        told: dict[NodeId, int] = {}

        async def ask(joiner: NodeId) -> None:
            try:
                told[joiner], why[joiner] = await self._ask(joiner)
            except RingmillError as error:  # as of a release before, which nobody can judge
                _log.debug("%s does not say how far it is: %s", joiner, error)

        await gather_all(ask(joiner) for joiner in self._standing.to_ask(topology, self._liveness.is_up))
        found = self._standing.look(topology, dict(sorted(told.items())), now, later_s=later_s)
        if found is None:
            return
        joiner, rows = found
        text = f"{joiner}, which joins partitions, is up and has come no further for {STANDS_S:.0f} s"
        text = f"{text}: {why[joiner] or 'it does not say why'}"

        def is_still_so(present: Topology) -> bool:
            return not present.is_paused and joint_rows(present, joiner) == rows

        await self._give_up(text, is_still_so)

    def _place(self, topology: Topology) -> int:
        up = [member.id for member in topology.members if self._liveness.is_up(member.id)]
        return up.index(self._node) if self._node in up else len(up)

    async def _give_up_away(self, joiner: NodeId, why: str, *, was_paused: bool) -> None:
        def is_still_so(present: Topology) -> bool:
            if present.is_paused and not was_paused:
                return False  # a pause came meanwhile: it is judged at the next look
            return bool(joint_rows(present, joiner)) and not self._liveness.is_up(joiner)

        if await self._give_up(why, is_still_so):
            sometimes("a plan is given up as its joiner stays away")

    async def _give_up(self, why: str, is_still_so: Callable[[Topology], bool]) -> bool:
        """Returns whether it is given up.  `is_still_so` judges the document that the change is made to."""
        was_so = False

        def change(present: Topology, may_be_made: bool) -> Topology | None:
            nonlocal was_so
            was_so = is_still_so(present)
            return aborted(present) if was_so else None

        try:
            await self._change(change, CHANGE_S)
        except (RingmillError, OSError) as error:
            _log.info("the plan is not given up yet: %s", error)
            return False
        if was_so:
            _log.warning("the plan is given up: %s", why)
        return was_so
