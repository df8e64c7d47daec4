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
_log = logging.getLogger(__name__)


class VoterSeats:
    """`run` for as long as the node lives.  At rest it has no timer."""

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
        self._down_since: dict[NodeId, float] = {}  # of this process' clock, as far as it has seen itself
        self._not_before = 0.0
        self._has_changed = asyncio.Event()
        liveness.on_change(self._note)
        topology.on_change(lambda _: self._has_changed.set())

    async def run(self) -> None:
        """Look whenever something changes, and when it is time to propose; until cancelled."""
        while True:
            self._has_changed.clear()
            lost, wait_s = self._next()
            if lost is not None and wait_s <= 0:
                await self._pass_on(lost)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(None if lost is None else wait_s):
                    await self._has_changed.wait()

    def _note(self, node: NodeId, state: MemberState) -> None:
        if state is MemberState.DOWN:
            self._down_since.setdefault(node, self._clock.monotonic())
        else:
            self._down_since.pop(node, None)
        self._has_changed.set()

    def _next(self) -> tuple[Owner | None, float]:
        """The voter that has been down longest, and in how many seconds this node may propose."""
        topology = self._topology.current
        if topology is None or self._seat not in topology.voters:
            return None, 0.0
        down = [voter for voter in topology.voters if voter.node in self._down_since]
        if not down or len(down) > len(topology.voters) // 2:
            return None, 0.0  # or nobody could decide
        lost = min(down, key=lambda voter: self._down_since[voter.node])
        if spare_voter(topology, lost, self._up(topology)) is None:
            return None, 0.0
        rank = [voter for voter in topology.voters if voter not in down].index(self._seat)
        due = self._down_since[lost.node] + self._options.voter_down_s + rank * self._options.voter_turn_s
        return lost, max(due, self._not_before) - self._clock.monotonic()

    def _up(self, topology: Topology) -> list[NodeId]:
        return [
            member.id
            for member in topology.members
            if self._liveness.state(member.id) is MemberState.UP and member.id not in self._down_since
        ]

    async def _pass_on(self, lost: Owner) -> None:
        """Propose once; what fails is tried again in a turn's time, if the voter is down then."""
        self._not_before = self._clock.monotonic() + self._options.voter_turn_s
        down_s = self._clock.monotonic() - self._down_since[lost.node]

        def change(topology: Topology, _: bool) -> Topology | None:
            return with_vote_passed_on(topology, lost, self._up(topology))

        try:
            changed = await self._epochs.change(change, _CHANGE_S)
        except RingmillError as error:
            _log.warning("the vote of %s, down for %.0f s, is not passed on: %s", lost.node, down_s, error)
            return
        if changed.was_made:
            _log.warning(
                "%s has been down for %.0f s and loses its vote; from epoch %d on the voters are %s",
                lost.node, down_s, changed.topology.epoch, ", ".join(changed.topology.voter_nodes),
            )  # fmt: skip
