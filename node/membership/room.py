"""Builds the membership of a node: topology and its changes, failure detector, clock watch, starts."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from ringmill.cluster.ids import DiskId, Start
from ringmill.cluster.membership.profile import profile_named
from ringmill.cluster.membership.start_rules import Announcement, LogMark
from ringmill.cluster.ring.access.used_token_changes import without_over
from ringmill.cluster.ring.keyspaces.last_changes import LastChanges
from ringmill.cluster.ring.topology import Owner, Topology
from ringmill.node.core import Core
from ringmill.node.identity.room import Storage
from ringmill.node.membership.clock_watch import ClockWatch
from ringmill.node.membership.epoch_proposer import EpochProposer
from ringmill.node.membership.epoch_voter import EpochVoter
from ringmill.node.membership.history.topology_history import TopologyHistory
from ringmill.node.membership.letting_join import LettingJoin
from ringmill.node.membership.liveness import Liveness
from ringmill.node.membership.offering import Offering
from ringmill.node.membership.recovering import Recovering
from ringmill.node.membership.starts import Starts
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.node.membership.upgrades.document_versions import DocumentVersions
from ringmill.node.membership.voter_seats import VoterSeats
from ringmill.node.replica.room import Replica
from ringmill.node.replica.stored_key import Kind, kind_prefix

__all__ = ["Membership", "fence_copies", "open_membership"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    topology: TopologyAgent
    history: TopologyHistory
    epochs: EpochProposer
    last_changes: LastChanges
    starts: Starts
    liveness: Liveness
    watch: ClockWatch
    offering: Offering
    voter_seats: VoterSeats
    recovering: Recovering
    joins: LettingJoin

    def loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        """The loops that run as long as the node; start the topology first."""
        return [
            self.topology.run(),
            self.starts.run(),
            self.liveness.run(),
            self.watch.run(),
            self.offering.run(),
            self.voter_seats.run(),
        ]


def open_membership(core: Core, storage: Storage, replica: Replica) -> Membership:
    """Nothing is asked or told before `topology.start` and the loops."""
    identity = storage.identity
    history = TopologyHistory(replica.control)
    agent = _topology_agent(core, identity.disk, replica, history)
    starts = Starts(
        Announcement(identity.node, identity.disk, identity.start, identity.earlier, storage.found),
        topology=agent,
        store=replica.control,
        transport=core.transport,
        mark=lambda: LogMark(*replica.engine.synced_log),
        changes=lambda: replica.objects.changes,
        refuse=identity.refuse,
        clock=core.clock,
    )
    liveness = Liveness(
        core.node,
        disk=identity.disk,
        start=identity.start,
        profile=profile_named(core.config.profile),
        topology=agent,
        transport=core.transport,
        clock=core.clock,
        entropy=core.doors.entropy,
        noted=starts.noted,
    )
    watch = ClockWatch(
        core.node,
        hybrid=core.hybrid,
        topology=agent,
        transport=core.transport,
        clock=core.clock,
        options=core.options.membership,
    )
    seat = Owner(core.node, identity.disk)
    voter = EpochVoter(seat, topology=agent, store=replica.control, clock=core.clock)
    offering = Offering(seat, topology=agent, transport=core.transport)
    epochs = _epoch_proposer(core, identity.start, agent)
    voter_seats = VoterSeats(
        seat,
        topology=agent,
        liveness=liveness,
        epochs=epochs,
        clock=core.clock,
        options=core.options.membership,
    )
    versions = DocumentVersions(core.node, topology=agent, transport=core.transport)
    for served in (agent, voter, starts, liveness, watch, offering, versions):
        core.serve(served.handlers())
    return Membership(
        topology=agent,
        history=history,
        epochs=epochs,
        last_changes=_last_changes(agent),
        starts=starts,
        liveness=liveness,
        watch=watch,
        offering=offering,
        voter_seats=voter_seats,
        recovering=Recovering(
            core.node, topology=agent, voter=voter, liveness=liveness, transport=core.transport
        ),
        joins=_letting_join(core, agent, epochs, starts, versions),
    )


def _epoch_proposer(core: Core, start: Start, agent: TopologyAgent) -> EpochProposer:
    return EpochProposer(
        core.node,
        start,
        topology=agent,
        transport=core.transport,
        clock=core.clock,
        entropy=core.doors.entropy,
        tidied=lambda topology: _tidied(core, topology),
    )


def _tidied(core: Core, topology: Topology) -> Topology:
    """By the median of the cluster's clocks, so that one that is ahead forgets no used token too early."""
    return without_over(topology, core.hybrid.shared_expiry_ms() / 1000)


def _last_changes(agent: TopologyAgent) -> LastChanges:
    known = LastChanges()
    agent.on_change(known.saw)
    return known


def _letting_join(
    core: Core, agent: TopologyAgent, epochs: EpochProposer, starts: Starts, versions: DocumentVersions
) -> LettingJoin:
    return LettingJoin(
        core.secret,
        topology=agent,
        epochs=epochs,
        starts=starts,
        versions=versions,
        hybrid=core.hybrid,
        entropy=core.doors.entropy,
    )


def _topology_agent(core: Core, disk: DiskId, replica: Replica, history: TopologyHistory) -> TopologyAgent:
    return TopologyAgent(
        core.node,
        disk=disk,
        store=replica.control,
        transport=core.transport,
        awaits_confirmation=True,
        fence=lambda: fence_copies(replica),
        remember=history.saw,
    )


async def fence_copies(replica: Replica) -> None:
    """All objects and registers; hints and control state are this disk's own (T8)."""
    await replica.engine.fence(kind_prefix(Kind.OBJECT), kind_prefix(Kind.HINT))
