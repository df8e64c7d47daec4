"""The code of registers in every order of a few rounds: nothing is lost, and a broken rule is found."""

from __future__ import annotations

import pytest

from ringmill.cluster.consensus.acceptor import AcceptorState
from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.register import Register
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.ids import NodeId
from tests.models.register_explorer import Round, Rules, explore


def ballot(counter: int, node: str = "p", start: int = 1) -> Ballot:
    return Ballot(counter, NodeId(node), start, "")


AT_ONCE = (Round(ballot(1), 1), Round(ballot(1, "q"), 2))
AFTER_A_START = (Round(ballot(1), 1), Round(ballot(1, start=2), 2))
SENT_TWICE = (Round(ballot(1), 1), Round(ballot(1, "q"), 1))
APART = (Round(ballot(1), 1), Round(ballot(2, "q"), 2))
THREE = (Round(ballot(1), 1), Round(ballot(1, "q"), 2), Round(ballot(2), 1))
ONE_BALLOT = (Round(ballot(1), 1), Round(ballot(1), 2))


@pytest.mark.parametrize(
    ("rounds", "damages"),
    [(AT_ONCE, 1), (AFTER_A_START, 0), (SENT_TWICE, 1), (APART, 2), (ONE_BALLOT, 0), (THREE, 0)],
    ids=["at once", "after a start", "sent twice", "apart", "one ballot", "three"],
)
def test_no_order_of_steps_loses_a_change(rounds: tuple[Round, ...], damages: int) -> None:
    found = explore(rounds, Rules(), damages=damages)
    assert (found.violation, found.trace) == ("", ())


def accept_anything(state: AcceptorState, name: Ballot, value: bytes, floor: int) -> AcceptorState:
    return AcceptorState(name, name, value)


def promise_again(state: AcceptorState, name: Ballot, floor: int) -> AcceptorState | None:
    return state._replace(promised=name) if name >= state.promised and name.counter > floor else None


def forget(state: AcceptorState) -> AcceptorState:
    return state._replace(promised=state.accepted)


@pytest.mark.parametrize(
    ("rules", "rounds", "damages"),
    [
        (Rules(accept=accept_anything), AT_ONCE, 0),
        (Rules(prepare=promise_again), ONE_BALLOT, 0),
        (Rules(forgets=forget), AT_ONCE, 0),
        (Rules(abstains=False), AT_ONCE, 1),
        (Rules(sources=1), APART, 1),
    ],
    ids=["promises", "distinct ballots", "a restart forgets", "damaged owners answer", "one source"],
)
def test_an_owner_without_one_of_its_rules_is_found(
    rules: Rules, rounds: tuple[Round, ...], damages: int
) -> None:
    found = explore(rounds, rules, damages=damages)
    assert found.violation
    assert len(found.trace) >= 6, "the way there is told"


def test_a_round_without_a_majority_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RoundTally, "majority", property(lambda tally: 1))
    assert explore(AT_ONCE, Rules()).violation


def test_a_round_that_does_not_look_for_its_operation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Register, "find", lambda register, operation: None)
    assert explore(SENT_TWICE, Rules()).violation
