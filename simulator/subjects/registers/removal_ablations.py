"""Safeguards that the removal of registers relies on (rule R5)."""

from __future__ import annotations

from typing import Any, Final

import ringmill.node.replica.registers.register_store
import ringmill.node.requests.registers.coordinator
import ringmill.simulator.subjects.registers.tunables
from ringmill.cluster.consensus.acceptor import AcceptorState, accept, prepare
from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.register import Register
from ringmill.cluster.consensus.remains import NO_REMAINS, Remains, combined, with_remains
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.node.repair.register_removal import RegisterRemoval
from ringmill.node.replica.registers.removal_messages import CLOSE, AskClose, KeyState
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, constant, function, method

__all__ = ["REMOVAL_ABLATIONS"]

_TUNABLES: Final = ringmill.simulator.subjects.registers.tunables


def _of(*faults: str) -> SimulationOptions:
    return SimulationOptions(("registers",), nodes=3, faults=faults or None, load_s=20.0)


def _always() -> Patches:
    """All runs remove registers, and soon."""
    return (constant(_TUNABLES, "REMOVING", 1.0), constant(_TUNABLES, "AGES_S", (0.3, 1.0)))


def _all_owners_are_empty() -> Patches:
    """What the owner that looks has not got a value of is removed by those that can be reached."""

    async def close(
        removal: RegisterRemoval, document: Topology, partition: PartitionId, row: Row, old: Any
    ) -> tuple[int, list[tuple[KeyState, ...]]]:
        floor, remains = max(each.promised for each in old), NO_REMAINS
        for each in old:
            remains = combined(remains, each.remains)
        request = AskClose(document.epoch, partition, row.row_epoch, floor, remains, ())
        for node in row.nodes:
            try:
                await removal._ask(node, CLOSE, request.encode())
            except RingmillError:
                continue
        return floor, [(KeyState(False, each.promised),) for each in old]

    def seems_up(removal: RegisterRemoval, node: NodeId) -> bool:
        return True

    return (method(RegisterRemoval._close, close), method(RegisterRemoval._seems_up, seems_up), *_always())


def _removed_stay_closed() -> Patches:
    """The floor is raised, and nobody obeys it."""

    def prepare_below(state: AcceptorState, ballot: Ballot, floor: int = 0) -> AcceptorState | None:
        return prepare(state, ballot)

    def accept_below(
        state: AcceptorState, ballot: Ballot, value: bytes, floor: int = 0
    ) -> AcceptorState | None:
        return accept(state, ballot, value)

    store = ringmill.node.replica.registers.register_store
    # A message has to be late by more than the age, and its sender has to be waiting still.
    late = constant(_TUNABLES, "AGES_S", (0.3,)), constant(_TUNABLES, "TIMEOUTS_S", (5.0,))
    return (function(store, prepare, prepare_below), function(store, accept, accept_below), *_always(), *late)


def _versions_go_on() -> Patches:
    def as_it_is(register: Register, remains: Remains) -> Register:
        return register

    return (function(ringmill.node.requests.registers.coordinator, with_remains, as_it_is), *_always())


REMOVAL_ABLATIONS: Final = (
    Ablation(
        "all-owners-empty",
        "a register is removed when no owner holds a value of it",
        _all_owners_are_empty(),
        _of("crash", "pause", "split_one", "loss"),
        rules=("R5",),
    ),
    Ablation(
        "removed-stay-closed",
        "a removed register is closed to the ballots that it had seen",
        _removed_stay_closed(),
        _of("stuck_link", "slow_link"),
        rules=("R5",),
    ),
    Ablation(
        "versions-go-on",
        "the versions of a removed register do not come again",
        _versions_go_on(),
        _of(),
        rules=("R5",),
    ),
)
