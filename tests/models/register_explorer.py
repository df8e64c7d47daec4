"""Every order of steps of a few rounds on three owners, with the production code as the steps.

A breadth-first search over whole states, as TLC makes it for docs/models/register.tla, but an owner's step is
`prepare` or `accept` of the acceptor, a coordinator's is `RoundTally` and `_judge`, and values are registers
in their bytes.  What was sent or answered stays a fact, so it may arrive at any later time or never.  Owners
that differ only by name are one state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, cast

from ringmill.cluster.consensus import acceptor
from ringmill.cluster.consensus.acceptor import UNTOUCHED, AcceptorState
from ringmill.cluster.consensus.ballots import NO_BALLOT, Ballot
from ringmill.cluster.consensus.register import Incr
from ringmill.cluster.consensus.register_codec import decode_register, encode_register
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.ids import NodeId
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.requests.registers import coordinator

__all__ = ["Found", "Round", "Rules", "explore"]

NODES: Final = tuple(NodeId(f"n{number}") for number in range(3))
MAJORITY: Final = 2
_STAMP: Final = SimpleNamespace(stamp=lambda above: HybridTime(above + 1))
_TOOLS: Final = cast("Any", SimpleNamespace(hybrid=_STAMP, kept_operations=16))

Told = tuple[Ballot, bytes]


class Round(NamedTuple):
    """A round that may begin at any time; rounds of one operation are attempts at one change."""

    ballot: Ballot
    operation: int


@dataclass(frozen=True, slots=True)
class Rules:
    """The steps of an owner; tests put others in their place."""

    prepare: Callable[[AcceptorState, Ballot, int], AcceptorState | None] = acceptor.prepare
    accept: Callable[[AcceptorState, Ballot, bytes, int], AcceptorState | None] = acceptor.accept
    forgets: Callable[[AcceptorState], AcceptorState] | None = None  # a restart; None: nothing is forgotten
    sources: int = len(NODES) - MAJORITY + 1
    abstains: bool = True  # an owner that has lost its state, until it is healed


class Owner(NamedTuple):
    """`promises` and `votes` have an entry for each round; `told` is what it told the damaged owner."""

    state: AcceptorState
    floor: int
    ceiling: int
    is_damaged: bool
    promises: tuple[Told | None, ...]
    votes: tuple[bool, ...]
    told: Told | None


class State(NamedTuple):
    owners: tuple[Owner, ...]
    proposals: tuple[bytes, ...]  # b"" before there is one
    damages: int


class Found(NamedTuple):
    """`violation` is "" when there is none; `trace` are the steps that lead to it."""

    violation: str
    trace: tuple[str, ...]
    states: int


def explore(rounds: tuple[Round, ...], rules: Rules, *, damages: int = 0) -> Found:
    """The shortest way to a violation, or none in any order of the steps."""
    blank = Owner(UNTOUCHED, 0, 0, False, (None,) * len(rounds), (False,) * len(rounds), None)
    first = State((blank,) * len(NODES), (b"",) * len(rounds), damages)
    before: dict[State, tuple[State, str] | None] = {first: None}
    waiting = deque([first])
    while waiting:
        state = waiting.popleft()
        if violation := _violation(state, rounds):
            return Found(violation, tuple(_trace(before, state)), len(before))
        for step, following in _steps(state, rounds, rules):
            if following not in before:
                before[following] = state, step
                waiting.append(following)
    return Found("", (), len(before))


def _trace(before: dict[State, tuple[State, str] | None], state: State) -> Iterator[str]:
    steps = []
    while (came := before[state]) is not None:
        state, step = came
        steps.append(step)
    yield from reversed(steps)


def _steps(state: State, rounds: tuple[Round, ...], rules: Rules) -> Iterator[tuple[str, State]]:
    for number, each in enumerate(rounds):
        if not state.proposals[number]:
            for value in _proposals(state, rounds, number):
                proposals = (*state.proposals[:number], value, *state.proposals[number + 1 :])
                yield f"{each.ballot} proposes {value!r}", state._replace(proposals=proposals)
    for place, owner in enumerate(state.owners):
        for step, following in _owner_steps(owner, state, rounds, rules):
            yield f"an owner {step}", _with(state, place, following)
        if not owner.is_damaged and state.damages and not any(each.is_damaged for each in state.owners):
            lost = owner._replace(state=UNTOUCHED, is_damaged=True)
            yield "an owner loses its state", _with(state, place, lost)._replace(damages=state.damages - 1)
        if owner.is_damaged:
            yield from _healing(state, place, rules)


def _with(state: State, place: int, owner: Owner) -> State:
    owners = (*state.owners[:place], owner, *state.owners[place + 1 :])
    return state._replace(owners=tuple(sorted(owners, key=repr)))


def _proposals(state: State, rounds: tuple[Round, ...], number: int) -> set[bytes]:
    """What a coordinator may propose: by each majority of the answers that it can have by now."""
    answers = [told for owner in state.owners if (told := owner.promises[number]) is not None]
    found = set()
    for size in range(1, len(answers) + 1):
        for heard in combinations(answers, size):
            tally = RoundTally(NODES)
            for node, (accepted, value) in zip(NODES, heard, strict=False):
                tally.agree(node, accepted, value)
            if tally.is_met:
                found.add(_judged(tally, rounds[number].operation))
    return found


def _judged(tally: RoundTally, number: int) -> bytes:
    asked = coordinator._NamedChange(Incr(1), OperationId(1, number, HybridTime(1)), 0)
    attempt = coordinator._Attempt(_TOOLS, cast("Any", None), cast("Any", None), asked)
    register, _, error = attempt._judge(decode_register(tally.value))
    assert error is None
    return encode_register(register)


def _owner_steps(
    owner: Owner, state: State, rounds: tuple[Round, ...], rules: Rules
) -> Iterator[tuple[str, Owner]]:
    if owner.is_damaged and rules.abstains:
        return
    for number, each in enumerate(rounds):
        if owner.promises[number] is None:
            after = rules.prepare(owner.state, each.ballot, owner.floor)
            if after is not None:
                told = (after.accepted, after.value)
                promises = (*owner.promises[:number], told, *owner.promises[number + 1 :])
                changed = owner._replace(state=after, promises=promises)
                yield f"promises {each.ballot}", _raised(changed, each.ballot)
        if (value := state.proposals[number]) and not owner.votes[number]:
            after = rules.accept(owner.state, each.ballot, value, owner.floor)
            if after is not None:
                votes = (*owner.votes[:number], True, *owner.votes[number + 1 :])
                changed = owner._replace(state=after, votes=votes)
                yield f"accepts {each.ballot}", _raised(changed, each.ballot)
    if rules.forgets is not None and (left := rules.forgets(owner.state)) != owner.state:
        yield "starts again and has forgotten", owner._replace(state=left)


def _raised(owner: Owner, ballot: Ballot) -> Owner:
    return owner._replace(ceiling=max(owner.ceiling, ballot.counter))


def _healing(state: State, place: int, rules: Rules) -> Iterator[tuple[str, State]]:
    """As node/repair/register_healing.py does it: a floor, a page, and the highest of all put in place."""
    damaged = state.owners[place]
    for other, owner in enumerate(state.owners):
        if other != place and owner.told is None:
            floor = max(owner.floor, damaged.ceiling)
            told = (owner.state.accepted, owner.state.value)
            raised = owner._replace(floor=floor, ceiling=max(owner.ceiling, floor), told=told)
            yield "an owner tells the damaged one", _with(state, other, raised)
    pages = [owner.told for owner in state.owners if owner.told is not None]
    if len(pages) >= rules.sources:
        accepted, value = max(pages, default=(NO_BALLOT, b""))
        healed = damaged._replace(
            state=AcceptorState(accepted.of_copy, accepted.of_copy, value),
            floor=max(damaged.floor, damaged.ceiling),
            ceiling=max(damaged.ceiling, accepted.counter),
            is_damaged=False,
        )
        others = tuple(owner._replace(told=None) for owner in state.owners)
        yield "the damaged owner is healed", _with(state._replace(owners=others), place, healed)


def _violation(state: State, rounds: tuple[Round, ...]) -> str:
    """What a majority has accepted is one chain, in which each operation is once."""
    chosen = [
        (rounds[number].ballot, decode_register(value))
        for number, value in enumerate(state.proposals)
        if sum(owner.votes[number] for owner in state.owners) >= MAJORITY
    ]
    for (low, earlier), (high, later) in pairwise(sorted(chosen)):
        if later.applied[: len(earlier.applied)] != earlier.applied:
            return f"{high} does not go on from {low}"
    for ballot, register in chosen:
        operations = [each.operation for each in register.applied]
        if len(set(operations)) < len(operations):
            return f"{ballot} has a change twice"
    return ""
