"""Safeguards that registers rely on."""

from __future__ import annotations

from typing import Any, Final

import ringmill.cluster.consensus.leases
import ringmill.node.membership.room
import ringmill.node.replica.registers.register_store
import ringmill.node.requests.registers.coordinator
from ringmill.cluster.consensus.acceptor import AcceptorState, accept, prepare
from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.lease import LeaseWatch, held_until
from ringmill.cluster.consensus.register import Register
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.ids import NodeId
from ringmill.node.membership.room import fence_copies
from ringmill.node.repair import register_healing
from ringmill.node.repair.register_healing import sources_needed
from ringmill.node.replica.registers.register_store import RegisterStore
from ringmill.node.replica.room import Replica
from ringmill.node.replica.stored_key import Kind, kind_prefix
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, function, method

__all__ = ["REGISTER_ABLATIONS"]

_REGISTERS: Final = ("registers",)


def _of(*faults: str) -> SimulationOptions:
    return SimulationOptions(_REGISTERS, faults=faults or None)


def _majorities() -> Patches:
    return (method(RoundTally.majority, property(lambda tally: len(tally._asked) // 2)),)


def _promises_kept() -> Patches:
    def accept_all(state: AcceptorState, ballot: Ballot, value: bytes, floor: int = 0) -> AcceptorState:
        return AcceptorState(ballot, ballot, value)

    return (function(ringmill.node.replica.registers.register_store, accept, accept_all),)


def _newest_goes_on() -> Patches:
    """A round goes on from the value that it was told of last, and not from that of the highest ballot."""

    agree_on_newest = RoundTally.agree

    def agree(tally: RoundTally, node: NodeId, accepted: Ballot, value: bytes, remains: Any = None) -> None:
        former = tally.value
        agree_on_newest(tally, node, accepted, value, remains)
        tally.value = value or former

    return (method(RoundTally.agree, agree),)


def _acceptors_synced() -> Patches:
    async def answer_at_once(store: RegisterStore) -> None:
        return None

    return (method(RegisterStore.wait_synced, answer_at_once),)


def _distinct_ballots() -> Patches:
    ballots = ringmill.node.requests.registers.coordinator._Ballots
    next_ballot = ballots.next

    def without_node(each: Any) -> Ballot:
        return next_ballot(each)._replace(node=NodeId("n"), start=1, boot="")

    def prepare_again(state: AcceptorState, ballot: Ballot, floor: int = 0) -> AcceptorState | None:
        return state._replace(promised=ballot) if ballot >= state.promised else None

    return (
        method(ballots.next, without_node),
        function(ringmill.node.replica.registers.register_store, prepare, prepare_again),
    )


def _chosen_is_read() -> Patches:
    """A read is content with the newest value that a majority tells of, whoever has accepted it."""
    return (method(RoundTally.is_chosen, property(lambda tally: tally.is_met)),)


def _sources_of_registers() -> Patches:
    return (function(register_healing, sources_needed, lambda row: 0),)


def _seated_abstains() -> Patches:
    """A disk that takes the place of a lost one agrees to changes of registers that it has not got."""

    async def fence_objects(replica: Replica) -> None:
        await replica.engine.fence(kind_prefix(Kind.OBJECT), kind_prefix(Kind.REGISTER))

    return (function(ringmill.node.membership.room, fence_copies, fence_objects),)


def _operations_known() -> Patches:
    return (method(Register.find, lambda register, operation: None),)


def _forgotten_is_told() -> Patches:
    attempt = ringmill.node.requests.registers.coordinator._Attempt
    return (method(attempt._may_be_forgotten, lambda each, present, request: False),)


def _lease_waited_out() -> Patches:
    left_s = LeaseWatch.left_s
    return (method(LeaseWatch.left_s, lambda watch, now: max(0.0, left_s(watch, now) - 1.0)),)


def _lease_given_up() -> Patches:
    """A holder goes on until somebody tells it that the lease is another's."""
    return (
        function(ringmill.cluster.consensus.leases, held_until, lambda sent_at, duration_s: sent_at + 60.0),
    )


REGISTER_ABLATIONS: Final = (
    Ablation(
        "lease-waited-out",
        "a lease is taken over when it was seen unchanged for all of its time",
        _lease_waited_out(),
        _of(),
        rules=("R6",),
    ),
    Ablation(
        "lease-given-up",
        "a holder gives up when it could not renew its lease in time",
        _lease_given_up(),
        _of(),
        rules=("R6",),
    ),
    Ablation(
        "register-majority",
        "a majority of the owners promises and accepts",
        _majorities(),
        _of(),
        rules=("R1",),
    ),
    Ablation(
        "promises-kept",
        "an owner accepts nothing below what it has promised",
        _promises_kept(),
        _of(),
        rules=("R1",),
    ),
    Ablation(
        "newest-goes-on",
        "a round goes on from the value of the highest ballot",
        _newest_goes_on(),
        _of(),
        rules=("R1",),
    ),
    Ablation(
        "acceptors-synced",
        "an owner answers once its state is on the disk",
        _acceptors_synced(),
        _of("crash_all", "crash", "disk_slow"),
        rules=("R1",),
    ),
    Ablation(
        "distinct-ballots",
        "no two proposers have the same ballot, and none is promised twice",
        _distinct_ballots(),
        _of(),
        rules=("R1",),
    ),
    Ablation(
        "chosen-is-read",
        "a read shows what a majority has accepted under one ballot",
        _chosen_is_read(),
        _of(),
        rules=("R3",),
    ),
    Ablation(
        "register-sources",
        "damaged registers are healed from enough owners: one of them knows each change",
        _sources_of_registers(),
        _of("bit_rot", "crash", "pause", "split_one", "loss"),
        rules=("R2",),
    ),
    Ablation(
        "seated-abstains",
        "a disk that takes the place of a lost one agrees to no change before it is filled",
        _seated_abstains(),
        _of("disk_replaced", "split_one", "loss", "crash"),
        rules=("T8",),
    ),
    Ablation(
        "change-known",
        "a change that is there is not applied again",
        _operations_known(),
        _of(),
        rules=("R4",),
    ),
    Ablation(
        "forgotten-is-told",
        "a change that may be there and forgotten is not applied again",
        _forgotten_is_told(),
        _of(),
        rules=("R4",),
    ),
)
