"""Safeguards that topology epochs rely on."""

from __future__ import annotations

from typing import Any, Final, cast

import ringmill.node.membership.epoch_voter
import ringmill.node.membership.letting_join
from ringmill.client.administration.keyspaces import AsyncKeyspaces
from ringmill.cluster.consensus.acceptor import AcceptorState, accept, prepare
from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId
from ringmill.cluster.ring.access.used_token_changes import used_up
from ringmill.cluster.ring.access.used_tokens import UsedToken
from ringmill.cluster.ring.keyspaces.last_changes import LastChanges
from ringmill.cluster.ring.topology import Owner, Topology
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.wire.stubs import keyspaces_pb2
from ringmill.node.contracts import LazyState
from ringmill.node.membership.epoch_proposer import EpochProposer
from ringmill.node.membership.forming import Forming
from ringmill.node.membership.newest_document import NewestDocument
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.node.membership.voter_seats import VoterSeats
from ringmill.node.repair.dropped.keyspace_removal import KeyspaceRemoval
from ringmill.node.replica.purging.gone_keyspaces import GoneKeyspaces
from ringmill.node.replica.routes import Routes
from ringmill.node.replica.stored_key import Place
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, function, method

__all__ = ["EPOCH_ABLATIONS"]

_KEYSPACES: Final = ("keyspaces",)


def _of(*faults: str, nodes: int = 3) -> SimulationOptions:
    return SimulationOptions(_KEYSPACES, nodes=nodes, faults=faults or None)


def _votes_of_a_majority() -> Patches:
    return (method(RoundTally.majority, property(lambda tally: len(tally._asked) // 2)),)


def _promises_of_voters() -> Patches:
    def accept_all(state: AcceptorState, ballot: Ballot, value: bytes, floor: int = 0) -> AcceptorState:
        return AcceptorState(ballot, ballot, value)

    return (function(ringmill.node.membership.epoch_voter, accept, accept_all),)


def _accepted_goes_on() -> Patches:
    """A proposer proposes its own document whatever others have accepted."""

    agree_on_all = RoundTally.agree

    def agree(tally: RoundTally, node: NodeId, accepted: Ballot, value: bytes, *of_register: Any) -> None:
        if of_register:
            agree_on_all(tally, node, accepted, value, *of_register)
            return
        tally._agreed[node] = accepted
        tally.note(accepted.counter)

    return (method(RoundTally.agree, agree),)


def _ballots_of_starts() -> Patches:
    next_ballot = EpochProposer.next_ballot

    def without_node(proposer: EpochProposer, lost: int) -> Ballot:
        return next_ballot(proposer, lost)._replace(node=NodeId("n"), start=1, boot="")

    def prepare_again(state: AcceptorState, ballot: Ballot, floor: int = 0) -> AcceptorState | None:
        return state._replace(promised=ballot) if ballot >= state.promised else None

    return (
        method(EpochProposer.next_ballot, without_node),
        function(ringmill.node.membership.epoch_voter, prepare, prepare_again),
    )


def _changes_held() -> Patches:
    """A node answers by the document that it has, and does not ask whether there is a newer one."""

    async def own(newest_document: NewestDocument, within_s: float) -> Topology:
        return newest_document._topology.serving_topology()

    async def nobody(newest_document: NewestDocument) -> None:
        return None

    return (method(NewestDocument.confirm, own), method(NewestDocument.spread, nobody))


def _documents_synced() -> Patches:
    """A node acts by a document that its disk gets with whatever is stored next."""

    async def adopt_at_once(agent: TopologyAgent, topology: Topology) -> None:
        cast("LazyState", agent._store).put_along("topology", topology.encode())
        agent._take(topology)

    return (method(TopologyAgent._adopt, adopt_at_once),)


def _votes_passed_on() -> Patches:
    """Nobody proposes that another member gets the vote of one that is down."""

    def never(seats: VoterSeats) -> tuple[Owner | None, float]:
        return None, 0.0

    return (method(VoterSeats._next, never),)


def _changes_name_epochs() -> Patches:
    """A change of a keyspace is made whatever was changed since it was asked for."""

    def any_epoch(changes: LastChanges, name: str, asked_in: Epoch) -> None:
        return None

    return (method(LastChanges.check, any_epoch),)


def _changes_name_ids() -> Patches:
    """A change of a keyspace is of whichever has the name when it comes to a node, whenever that is."""

    async def any_of_that_name(
        keyspaces: AsyncKeyspaces, name: str, timeout_s: float
    ) -> keyspaces_pb2.KeyspaceSettings:
        return keyspaces_pb2.KeyspaceSettings()

    return (method(AsyncKeyspaces._find_named, any_of_that_name), *_changes_name_epochs())


def _first_document_counts() -> Patches:
    """A node serves by the first document that it is given."""

    async def all_hold_it(forming: Forming, first: Topology) -> int:
        return len(first.voters)

    return (method(Forming._holders, all_hold_it),)


def _used_tokens_noted() -> Patches:
    def note_nothing(following: Topology, token: UsedToken, now_s: float) -> Topology:
        return following

    return (function(ringmill.node.membership.letting_join, used_up, note_nothing),)


def _dropped_is_removed() -> Patches:
    """What dropped keyspaces hold stays on the disks, and nobody waits for it to go."""

    async def nothing(removal: KeyspaceRemoval) -> bool:
        return True

    return (
        method(KeyspaceRemoval.round, nothing),
        method(KeyspaceRemoval.is_done, property(lambda removal: True)),
    )


def _dropped_stays_gone() -> Patches:
    """An owner takes what is brought of a dropped keyspace, and what was under way when it was dropped."""
    place_of = Routes.place_of

    async def place_of_any(
        routes: Routes, keyspace: KeyspaceId, key: bytes, epoch: Epoch, *, sender: NodeId
    ) -> Place | None:
        known = await place_of(routes, keyspace, key, epoch, sender=sender)
        if known is not None:
            return known
        partition = routes._view.serving_topology().partition_of(keyspace, key)
        row = await routes.row_of(partition, epoch, sender=sender)
        return Place(routes.copy_of(partition, row), keyspace, key)

    def never(gone: GoneKeyspaces, keyspace: KeyspaceId) -> bool:
        return False

    return (
        method(Routes.place_of, place_of_any),
        method(GoneKeyspaces.refuses, never),
    )


EPOCH_ABLATIONS: Final = (
    Ablation(
        "documents-synced",
        "a document is on the disk before a node acts by it",
        _documents_synced(),
        SimulationOptions(nodes=1, n=1, w=1, r=1, faults=("crash", "crash_all")),
        rules=("T1",),
    ),
    Ablation(
        "votes-passed-on",
        "a member that is up gets the vote of one that is gone",
        _votes_passed_on(),
        _of("disk_lost", "loss", nodes=4),
        rules=("T3",),
    ),
    Ablation(
        "first-document-counts",
        "a node serves once a majority of the voters holds the first document",
        _first_document_counts(),
        _of(),
        rules=("T4",),
    ),
    Ablation(
        "epoch-majority",
        "a majority of the voters promises and accepts",
        _votes_of_a_majority(),
        _of(),
        rules=("T2",),
    ),
    Ablation(
        "epoch-promises-kept",
        "a voter accepts nothing below what it has promised",
        _promises_of_voters(),
        _of(),
        rules=("T2",),
    ),
    Ablation(
        "accepted-goes-on",
        "a proposer goes on from the document that may have been decided",
        _accepted_goes_on(),
        _of(),
        rules=("T2",),
    ),
    Ablation(
        "epoch-ballots",
        "no two proposers of an epoch have the same ballot, and none is promised twice",
        _ballots_of_starts(),
        _of("pause", "slow_link", "reorder", "loss"),
        rules=("T2",),
    ),
    Ablation(
        "changes-held",
        "a change is answered once a majority of the voters holds it, and a majority is asked what is newest",
        _changes_held(),
        _of(),
        rules=("T2", "T5"),
    ),
    Ablation(
        "changes-name-epochs",
        "a change of a keyspace is not made over one that its caller had not heard of",
        _changes_name_epochs(),
        _of("stop_with_change"),
        rules=("T12",),
    ),
    Ablation(
        "changes-name-ids",
        "a change names the keyspace that it means, and leaves another one of its name alone",
        _changes_name_ids(),
        _of("stop_with_change"),
        rules=("T12",),
    ),
    Ablation(
        "used-tokens-noted",
        "the epoch that adds the node of a join token notes the token, whatever becomes of the node",
        _used_tokens_noted(),
        SimulationOptions(_KEYSPACES, nodes=3, faults=()),
        rules=("T11",),
    ),
    Ablation(
        "used-tokens-by-median",
        "a used token is forgotten by the median of the clocks, not by the one of who makes an epoch",
        (method(HybridClock.shared_expiry_ms, HybridClock.wall_ms),),
        SimulationOptions(_KEYSPACES, nodes=3, faults=()),
        rules=("T11",),
    ),
    Ablation(
        "dropped-is-removed",
        "each owner removes what a dropped keyspace has left",
        _dropped_is_removed(),
        _of(),
        rules=("P6",),
    ),
    Ablation(
        "dropped-stays-gone",
        "what is brought or under way of a dropped keyspace is stored no more",
        _dropped_stays_gone(),
        _of("pause", "split_one", "crash"),
        rules=("P6",),
    ),
)
