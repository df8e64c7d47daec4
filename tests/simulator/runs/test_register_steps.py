"""Every step that owners take in simulated runs is a step of docs/models/register.tla, and agreement holds.

The runs are those of the simulator, with restarts, lost messages and splits; disks keep what they have
synced, as a healed owner may have less than it had accepted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from weakref import WeakKeyDictionary

import pytest

from ringmill.cluster.consensus.acceptor import UNTOUCHED, AcceptorState
from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.register import Register
from ringmill.cluster.consensus.register_codec import decode_register
from ringmill.cluster.consensus.remains import Remains
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.replica.registers.register_serving import RegisterServing
from ringmill.node.replica.registers.register_store import RegisterStore
from ringmill.node.replica.registers.removal_serving import RemovalServing
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import method, patched
from ringmill.simulator.run import run_seed

FAULTS = ("crash", "crash_all", "pause", "split_one", "split_halves", "loss", "duplicate", "disk_slow")
MAJORITY = 2  # of three owners
Step = Callable[[AcceptorState], AcceptorState | None]


class Steps:
    """The steps of one run, each judged as it is taken."""

    def __init__(self) -> None:
        self.nodes: WeakKeyDictionary[RegisterStore, NodeId] = WeakKeyDictionary()
        self.taken = self.removed = 0
        self.wrong: list[str] = []
        self._answered: dict[tuple[NodeId, bytes], AcceptorState] = defaultdict(lambda: UNTOUCHED)
        self._proposed: dict[tuple[bytes, Ballot], bytes] = {}
        self._votes: dict[tuple[bytes, Ballot], set[NodeId]] = defaultdict(set)

    def take(self, store: RegisterStore, key: bytes, ballot: Ballot, step: Step) -> Step:
        """The step, wrapped so that the model judges it: Prepare or Accept, or neither is allowed."""
        node = self.nodes[store]

        def taken(before: AcceptorState) -> AcceptorState | None:
            after = step(before)
            self.taken += 1
            answered = self._answered[node, key]
            self._expect(
                before.promised >= answered.promised, f"{node} forgot its promise of {answered.promised}"
            )
            self._expect(
                before.accepted >= answered.accepted, f"{node} forgot that it accepted {answered.accepted}"
            )
            if after is None:
                is_late = ballot.counter <= store.floor or ballot <= before.promised
                self._expect(is_late, f"{node} refused {ballot} and had promised {before.promised}")
                return after
            self._expect(ballot.counter > store.floor, f"{node} agreed to {ballot} below its floor")
            self._expect(ballot.counter <= store.ceiling, f"{node} agreed to {ballot} above its ceiling")
            if after.accepted != ballot:
                is_promise = ballot > before.promised and after == before._replace(promised=ballot)
                self._expect(is_promise, f"{node} promised {ballot} after {before.promised}")
            else:
                is_accept = ballot >= before.promised and after.promised == ballot
                self._expect(is_accept, f"{node} accepted {ballot} below {before.promised}")
                value = self._proposed.setdefault((key, ballot), after.value)
                self._expect(value == after.value, f"{ballot} has two values")
            return after

        return taken

    def remove(self, store: RegisterStore, key: bytes, floor: int) -> None:
        """The model's Remove: what was promised is closed, and what was accepted is no value (rule R5)."""
        node = self.nodes[store]
        answered = self._answered.pop((node, key), UNTOUCHED)
        self.removed += 1
        self._expect(answered.promised.counter <= floor <= store.floor, f"{node} removed what is open")
        self._expect(decode_register(answered.value).value is None, f"{node} removed a value")

    def answer(self, store: RegisterStore, key: bytes, state: AcceptorState) -> None:
        node = self.nodes[store]
        self._answered[node, key] = max(self._answered[node, key], state)
        if state.value:
            self._votes[key, state.accepted].add(node)

    def _expect(self, holds: bool, story: str) -> None:
        if not holds:
            self.wrong.append(story)

    def disagreements(self) -> Iterator[str]:
        """What majorities have accepted is one chain, in which each operation made one version."""
        chosen: dict[bytes, list[tuple[Ballot, Register]]] = defaultdict(list)
        for (key, ballot), nodes in sorted(self._votes.items()):
            if len(nodes) >= MAJORITY:
                chosen[key].append((ballot, decode_register(self._proposed[key, ballot])))
        for those in chosen.values():
            for (_, earlier), (ballot, later) in pairwise(those):
                is_same = later == earlier or (later.value is None and earlier.value is None)
                if later.version < earlier.version or (later.version == earlier.version and not is_same):
                    yield f"{ballot} does not go on from version {earlier.version}"
            made: dict[OperationId, int] = {}
            for ballot, register in those:
                for each in register.applied:
                    if made.setdefault(each.operation, each.version) != each.version:
                        yield f"{ballot} has an operation that had made version {made[each.operation]}"


def steps_of(seed: int, *off: str) -> Steps:
    steps = Steps()
    original = RegisterStore._step
    original_remove = RegisterStore.remove
    handlers = (RegisterServing.prepare, RegisterServing.accept, RemovalServing.remove)

    async def _step(
        store: RegisterStore, key: bytes, ballot: Ballot, step: Step
    ) -> tuple[AcceptorState, bool]:
        state, is_done = await original(store, key, ballot, steps.take(store, key, ballot, step))
        steps.answer(store, key, state)
        return state, is_done

    async def remove(
        store: RegisterStore, key: bytes, floor: int, remains: Remains, admit: Callable[[], object]
    ) -> bool:
        if is_removed := await original_remove(store, key, floor, remains, admit):
            steps.remove(store, key, floor)
        return is_removed

    def named(handler: Callable[..., object]) -> Callable[..., object]:
        def handle(serving: RegisterServing | RemovalServing, incoming: Incoming) -> object:
            steps.nodes[serving._registers] = serving._routes.node
            return handler(serving, incoming)

        return handle

    patches = [method(handler, named(handler)) for handler in handlers]
    with patched(*patches, method(RegisterStore._step, _step), method(RegisterStore.remove, remove)):
        run_seed(seed, SimulationOptions(("registers",), faults=FAULTS, safeguards_off=off))
    steps.wrong += steps.disagreements()
    return steps


def test_owners_take_only_steps_of_the_model() -> None:
    runs = [steps_of(seed) for seed in range(6, 12)]
    assert [run.wrong[:3] for run in runs if run.wrong] == []
    assert sum(run.taken for run in runs) > 2000
    assert sum(run.removed for run in runs) > 10


@pytest.mark.parametrize("safeguard", ["promises-kept", "acceptors-synced"])
def test_a_step_that_the_model_does_not_have_is_found(safeguard: str) -> None:
    assert any(steps_of(seed, safeguard).wrong for seed in range(1, 40))
