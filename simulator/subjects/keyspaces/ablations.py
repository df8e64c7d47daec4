"""Safeguards that topology epochs rely on."""

from __future__ import annotations

from typing import Final

import ringmill.node.membership.epoch_voter
from ringmill.cluster.consensus.acceptor import AcceptorState, accept, prepare
from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.proposer import Phase
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.topology import Topology
from ringmill.node.membership.epoch_proposer import EpochProposer
from ringmill.node.membership.settling import Settling
from ringmill.simulator.bending import Ablation, Bends, method, use
from ringmill.simulator.options import SimulationOptions

__all__ = ["EPOCH_ABLATIONS"]

_KEYSPACES: Final = ("keyspaces",)


def _of(*faults: str) -> SimulationOptions:
    return SimulationOptions(_KEYSPACES, nodes=3, faults=faults or None)


def _votes_of_a_majority() -> Bends:
    return (method(Phase.majority, property(lambda phase: len(phase._owners) // 2)),)


def _promises_of_voters() -> Bends:
    def accept_all(state: AcceptorState, ballot: Ballot, value: bytes, floor: int = 0) -> AcceptorState:
        return AcceptorState(ballot, ballot, value)

    return (use(ringmill.node.membership.epoch_voter, accept, accept_all),)


def _accepted_goes_on() -> Bends:
    """A proposer proposes its own document whatever others have accepted."""

    def agree(phase: Phase, node: NodeId, accepted: Ballot, value: bytes) -> None:
        phase._agreed[node] = accepted
        phase.note(accepted.counter)

    return (method(Phase.agree, agree),)


def _ballots_of_starts() -> Bends:
    next_ballot = EpochProposer.next_ballot

    def without_node(proposer: EpochProposer) -> Ballot:
        return next_ballot(proposer)._replace(node=NodeId("n"), start=1, boot="")

    def prepare_again(state: AcceptorState, ballot: Ballot, floor: int = 0) -> AcceptorState | None:
        return state._replace(promised=ballot) if ballot >= state.promised else None

    return (
        method(EpochProposer.next_ballot, without_node),
        use(ringmill.node.membership.epoch_voter, prepare, prepare_again),
    )


def _changes_held() -> Bends:
    """A node answers by the document that it has, and does not ask whether there is a newer one."""

    async def own(settling: Settling, within_s: float) -> Topology:
        return settling._topology.topology()

    async def nobody(settling: Settling) -> None:
        return None

    return (method(Settling.newest, own), method(Settling.spread, nobody))


EPOCH_ABLATIONS: Final = (
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
)
