"""Proposers that count on three acceptors, their messages in any order, late, lost and doubled.

Every round that a majority has accepted adds one to what the round before it left: so nothing that was chosen
is lost, and nothing is chosen beside it.  Without either safeguard of rule R1 some run breaks that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from random import Random

import pytest

from ringmill.cluster.consensus import acceptor
from ringmill.cluster.consensus.acceptor import UNTOUCHED, AcceptorState
from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.ids import NodeId

NODES = [NodeId(f"n{number}") for number in range(3)]
SEEDS = 400

Step = Callable[[AcceptorState, Ballot], AcceptorState | None]
Accept = Callable[[AcceptorState, Ballot, bytes], AcceptorState | None]


class Proposer:
    """Goes through rounds until `wanted` are chosen; each adds one to the number that it finds."""

    def __init__(self, name: str, run: Run) -> None:
        self.name = name
        self.run = run
        self.counter = 0
        self.begin()

    def begin(self) -> None:
        self.counter += 1
        self.ballot = Ballot(self.counter, NodeId(self.name), 1, "")
        self.tally, self.is_accepting, self.value = RoundTally(NODES), False, b""
        for node in NODES:
            self.run.send(partial(self.run.prepare, node, self.ballot, self.tally, self))

    def look(self, tally: RoundTally) -> None:
        if tally is not self.tally:
            return
        if tally.is_met and self.is_accepting:
            self.run.chosen.append((self.ballot, int(self.value)))
            self.counter = max(self.counter, tally.highest_counter)
            self.begin()
        elif tally.is_met:
            self.value = b"%d" % (int(tally.value or b"0") + 1)
            self.tally, self.is_accepting = RoundTally(NODES), True
            for node in NODES:
                self.run.send(partial(self.run.accept, node, self.ballot, self.value, self.tally, self))
        elif tally.is_lost or tally.all_answered:
            self.counter = max(self.counter, tally.highest_counter)
            self.begin()


class Run:
    def __init__(self, seed: int, prepare: Step, accept: Accept) -> None:
        self.draws = Random(seed)
        self.states = dict.fromkeys(NODES, UNTOUCHED)
        self.chosen: list[tuple[Ballot, int]] = []
        self._prepare, self._accept = prepare, accept
        self.waiting: list[Callable[[], None]] = []
        self.proposers = [Proposer(name, self) for name in ("p", "q", "r")]

    def send(self, message: Callable[[], None]) -> None:
        if self.draws.random() < 0.9:
            self.waiting.append(message)
        if self.draws.random() < 0.1:
            self.waiting.append(message)

    def prepare(self, node: NodeId, ballot: Ballot, tally: RoundTally, proposer: Proposer) -> None:
        after = self._prepare(self.states[node], ballot)
        self._tell(node, after, tally, proposer)

    def accept(
        self, node: NodeId, ballot: Ballot, value: bytes, tally: RoundTally, proposer: Proposer
    ) -> None:
        after = self._accept(self.states[node], ballot, value)
        self._tell(node, after, tally, proposer)

    def _tell(self, node: NodeId, after: AcceptorState | None, tally: RoundTally, proposer: Proposer) -> None:
        promised = self.states[node].promised.counter
        if after is not None:
            self.states[node] = after

        def hear() -> None:
            if after is None:
                tally.refuse(node, promised)
            else:
                tally.agree(node, after.accepted, after.value)
            proposer.look(tally)

        self.send(hear)

    def go(self, steps: int = 600) -> None:
        for _ in range(steps):
            if not self.waiting or self.draws.random() < 0.02:
                self.draws.choice(self.proposers).begin()  # it has waited for long enough
            if self.waiting:
                self.waiting.pop(self.draws.randrange(len(self.waiting)))()

    @property
    def is_one_chain(self) -> bool:
        """Each chosen number is one above that of the ballot chosen before it, or more: rounds whose outcome
        nobody has heard count as well."""
        numbers = [number for _, number in sorted(set(self.chosen))]
        return all(earlier < later for earlier, later in pairwise(numbers))


def chains(prepare: Step = acceptor.prepare, accept: Accept = acceptor.accept) -> list[bool]:
    told = []
    for seed in range(SEEDS):
        run = Run(seed, prepare, accept)
        run.go()
        told.append(run.is_one_chain)
    return told


def test_what_is_chosen_is_one_chain() -> None:
    assert all(chains())


def accept_anything(state: AcceptorState, ballot: Ballot, value: bytes) -> AcceptorState | None:
    return AcceptorState(ballot, ballot, value)


def promise_anything(state: AcceptorState, ballot: Ballot) -> AcceptorState | None:
    return state._replace(promised=ballot)


@pytest.mark.parametrize(
    ("prepare", "accept"),
    [(acceptor.prepare, accept_anything), (promise_anything, acceptor.accept)],
    ids=["an accept below the promise", "a promise below the promise"],
)
def test_without_this_safeguard_some_run_is_no_longer_one_chain(prepare: Step, accept: Accept) -> None:
    assert not all(chains(prepare, accept))
