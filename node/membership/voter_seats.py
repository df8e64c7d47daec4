"""Passes the vote of a member that has been down for long to one that is up.

A cluster whose voters die one after the other would stop changing when most of them are gone, though there
are members enough.  Each voter looks for itself, and they propose one after the other, so that the second
finds nothing left to do.  Nothing hangs on who is right: the voters decide, and a member that comes back has
lost its vote and nothing else.

Rule T3: docs/protocol/topology.md.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.membership.claims import MemberState
from ringmill.cluster.ports import Clock
from ringmill.cluster.ring.topology import Owner, Topology
from ringmill.cluster.ring.voters import spare_voter, with_vote_passed_on
from ringmill.node.contracts import LivenessView
from ringmill.node.membership.epoch_proposer import EpochProposer
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.node.node_options import MembershipOptions

__all__ = ["VoterSeats"]

_CHANGE_S: Final = 10.0
_LOOK_S: Final = 5.0  # between two looks while a voter is down
_LATE_S: Final = 1.0  # a look that comes later than this shows that this process stood still
_LONGEST_PAUSE_S: Final = 300.0
_log = logging.getLogger(__name__)


class VoterSeats:
    """`run` for as long as the node lives.  At rest it has no timer.

    A voter counts as down for as long as this node sees it down, moves itself, and sees most voters up: in
    the minority of a split all others seem to be down, and after a stop what is seen is old.
    """

    def __init__(
        self,
        seat: Owner,
        *,
        topology: TopologyAgent,
        liveness: LivenessView,
        epochs: EpochProposer,
        clock: Clock,
        options: MembershipOptions,
    ) -> None:
        self._seat = seat
        self._topology = topology
        self._liveness = liveness
        self._epochs = epochs
        self._clock = clock
        self._options = options
        self._down_since: dict[Owner, float] = {}
        self._not_before = 0.0
        self._failures = 0
        self._voters: tuple[NodeId, ...] = ()
        self._has_changed = asyncio.Event()
        liveness.on_change(lambda node, state: self._has_changed.set())
        topology.on_change(self._take)

    async def run(self) -> None:
        """Look whenever something changes, and now and then while a voter is down; until cancelled."""
        while True:
            self._has_changed.clear()
            lost, wait_s = self._next()
            if lost is not None and wait_s <= 0:
                await self._pass_on(lost)
                continue
            patience_s = None if not self._down_since else min(wait_s, _LOOK_S)
            began = self._clock.boottime()  # it goes on while the machine sleeps, and the timeout does not
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._has_changed.wait()
            if patience_s is not None and self._clock.boottime() - began > patience_s + _LATE_S:
                self._down_since.clear()

    def _take(self, topology: Topology) -> None:
        if self._voters and self._voters != topology.voter_nodes:
            _log.warning(
                "from topology epoch %d on the voters are %s", topology.epoch, ", ".join(topology.voter_nodes)
            )
        self._voters = topology.voter_nodes
        self._has_changed.set()

    def _next(self) -> tuple[Owner | None, float]:
        """The voter that has been down longest, and in how many seconds this node may propose."""
        topology, now = self._topology.current, self._clock.monotonic()
        if topology is None or self._seat not in topology.voters:
            self._down_since.clear()
            return None, 0.0
        down = [voter for voter in topology.voters if self._is_down(voter.node)]
        if len(down) > len(topology.voters) // 2:
            down = []
        self._down_since = {voter: self._down_since.get(voter, now) for voter in down}
        if not down:
            self._failures = 0
            return None, 0.0
        lost = min(down, key=self._down_since.__getitem__)
        if spare_voter(topology, lost, self._up(topology)) is None:
            return None, _LOOK_S
        rank = [voter for voter in topology.voters if voter not in down].index(self._seat)
        due = self._down_since[lost] + self._options.voter_down_s + rank * self._options.voter_turn_s
        return lost, max(due, self._not_before) - now

    def _is_down(self, node: NodeId) -> bool:
        return node != self._seat.node and self._liveness.state(node) is MemberState.DOWN

    def _up(self, topology: Topology) -> list[NodeId]:
        return [member.id for member in topology.members if self._liveness.state(member.id) is MemberState.UP]

    async def _pass_on(self, lost: Owner) -> None:
        """Propose once; what fails is tried again after a pause that grows, if the voter is down then."""
        down_s = self._clock.monotonic() - self._down_since[lost]

        def change(topology: Topology, _: bool) -> Topology | None:
            if self._seat not in topology.voters or not self._is_down(lost.node):
                return None
            return with_vote_passed_on(topology, lost, self._up(topology))

        try:
            changed = await self._epochs.change(change, _CHANGE_S)
        except RingmillError as error:
            if not self._failures:
                _log.warning(
                    "the vote of %s, down for %.0f s, is not passed on: %s", lost.node, down_s, error
                )
            self._failures += 1
        else:
            self._failures = 0
            if changed.was_made:
                _log.warning("%s has been down for %.0f s and loses its vote", lost.node, down_s)
        pause_s = min(self._options.voter_turn_s * float(2 ** min(self._failures, 10)), _LONGEST_PAUSE_S)
        self._not_before = self._clock.monotonic() + pause_s
