"""Gives a plan up when a node that joins partitions stays away; any member may say so, one after the other.

Rule M7: docs/protocol/moves.md.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Clock
from ringmill.cluster.ring.away_joiners import AwayJoiners
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
_log = logging.getLogger(__name__)


class GivingUp:
    """`run` for as long as the node lives.  While nothing moves it has no timer."""

    def __init__(
        self, node: NodeId, *, topology: TopologyView, liveness: LivenessView, change: Advance, clock: Clock
    ) -> None:
        self._node = node
        self._topology = topology
        self._liveness = liveness
        self._change = change
        self._clock = clock
        self._joiners = AwayJoiners()
        self._moves = asyncio.Event()

    def take(self, topology: Topology) -> None:
        """A document is held from now on."""
        if topology.is_moving:
            self._moves.set()
        else:
            self._moves.clear()
            self._joiners.forget()

    async def run(self) -> None:
        while await self._moves.wait():
            topology = self._topology.current
            if topology is not None and self._topology.serving:
                await self._look(topology)
            else:
                self._joiners.forget()
            due = self._clock.boottime() + LOOK_S
            await asyncio.sleep(LOOK_S)
            # This process stood still, or the machine slept, so who was up meanwhile is not known.
            if self._clock.boottime() > due + LATE_S:
                self._joiners.forget()

    async def _look(self, topology: Topology) -> None:
        now, later_s = asyncio.get_running_loop().time(), TURN_S * self._place(topology)
        found = self._joiners.look(topology, self._liveness.is_up, now, later_s=later_s)
        if found is not None:
            await self._give_up(*found)

    def _place(self, topology: Topology) -> int:
        up = [member.id for member in topology.members if self._liveness.is_up(member.id)]
        return up.index(self._node) if self._node in up else len(up)

    async def _give_up(self, joiner: NodeId, why: str) -> None:
        is_still_so = False

        def change(present: Topology, may_be_made: bool) -> Topology | None:
            nonlocal is_still_so
            is_joining = any(row.joiner is not None and row.joiner.node == joiner for row in present.rows)
            is_still_so = is_joining and not self._liveness.is_up(joiner)
            return aborted(present) if is_still_so else None

        try:
            await self._change(change, CHANGE_S)
        except (RingmillError, OSError) as error:
            _log.info("the plan is not given up yet: %s", error)
            return
        if is_still_so:
            sometimes("a plan is given up as its joiner stays away")
            _log.warning("the plan is given up: %s", why)
