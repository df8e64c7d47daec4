"""The linearizability checker, judged by brute force and by histories known to be good or bad."""

from collections.abc import Hashable, Sequence
from itertools import chain, combinations, permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from ringmill.simulator.checkers.linearizability import Call, is_linearizable


def _oracle(calls: Sequence[Call]) -> bool:
    """Try every order of every subset that contains all certain calls."""
    certain = [call for call in calls if call.returned is not None]
    maybe = [call for call in calls if call.returned is None]
    subsets = chain.from_iterable(combinations(maybe, size) for size in range(len(maybe) + 1))
    return any(_explains(order) for some in subsets for order in permutations([*certain, *some]))


def _explains(order: Sequence[Call]) -> bool:
    state: Hashable = None
    for place, call in enumerate(order):
        if any(later.returned is not None and later.returned < call.invoked for later in order[place + 1 :]):
            return False
        if call.kind == "read":
            if call.returned is not None and call.result != state:
                return False
        elif call.kind == "write":
            state = call.argument
        else:
            succeeds = state == call.expected
            if call.returned is not None and call.result != succeeds:
                return False
            state = call.argument if succeeds else state
    return True


@st.composite
def _histories(draw: st.DrawFn) -> list[Call]:
    size = draw(st.integers(1, 6))
    times = draw(st.permutations(range(2 * size)))
    calls = []
    for number in range(size):
        invoked, returned = sorted(times[2 * number : 2 * number + 2])
        kind = draw(st.sampled_from(["read", "write", "cas"]))
        value = st.sampled_from([None, 1, 2])
        calls.append(
            Call(
                kind,  # type: ignore[arg-type]
                float(invoked),
                draw(st.sampled_from([float(returned), float(returned), float(returned), None])),
                argument=draw(st.sampled_from([1, 2])),
                expected=draw(value),
                result=draw(value) if kind == "read" else draw(st.booleans()),
            )
        )
    return calls


@settings(max_examples=400, deadline=None)
@given(_histories())
def test_the_search_agrees_with_brute_force(calls: list[Call]) -> None:
    assert is_linearizable(calls) is _oracle(calls)


def test_a_stale_read_after_a_newer_read_is_refused() -> None:
    calls = [
        Call("write", 0, 1, argument=1),
        Call("write", 2, 9, argument=2),
        Call("read", 3, 4, result=2),
        Call("read", 5, 6, result=1),
    ]
    assert is_linearizable(calls) is False


def test_two_successful_swaps_from_the_same_value_are_refused() -> None:
    calls = [
        Call("write", 0, 1, argument=1),
        Call("cas", 2, 5, expected=1, argument=2, result=True),
        Call("cas", 3, 6, expected=1, argument=3, result=True),
    ]
    assert is_linearizable(calls) is False


def test_a_write_of_unknown_outcome_may_show_up_late_or_never() -> None:
    lost = Call("write", 0, None, argument=7)
    assert is_linearizable([lost, Call("read", 1, 2, result=None), Call("read", 3, 4, result=7)]) is True
    assert is_linearizable([lost, Call("read", 1, 2, result=7), Call("read", 3, 4, result=None)]) is False


def test_a_spent_budget_is_not_a_verdict() -> None:
    calls = [Call("write", 0, 100, argument=number) for number in range(12)] + [
        Call("read", 101, 102, result=99)
    ]
    assert is_linearizable(calls, budget=50) is None
