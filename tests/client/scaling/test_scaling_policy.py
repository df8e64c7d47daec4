"""The policy of `cluster autoscale`: bounds, hysteresis, cool-down, and what it looks at before a removal."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ringmill.client.scaling.scaling_policy import Decision, Observation, ScalingRules, decide, recent
from ringmill.cluster.errors import InvalidArgument

EVERY_S: Final = 5.0
RULES: Final = ScalingRules(least=3, most=7, low=0.5, sustained_s=10.0, cooldown_s=30.0)
HIGH_AND_LOW: Final = st.floats(0.0, 20.0)


def seen(at_s: float, pressures: list[float], **more: object) -> Observation:
    names = [f"n{number + 1}" for number in range(len(pressures))]
    observed = Observation(at_s, dict(zip(names, pressures, strict=True)), 3, tuple(reversed(names[3:])))
    return replace(observed, **more)  # type: ignore[arg-type]


def series(*pressures: list[float], **more: object) -> list[Observation]:
    return [seen(EVERY_S * at, each, **more) for at, each in enumerate(pressures)]


def story(loads: list[float], rules: ScalingRules, count: int) -> list[tuple[float, Decision, int]]:
    """What is decided under these loads, of which each member bears its share, when all is done at once."""
    told: list[tuple[float, Decision, int]] = []
    observed: list[Observation] = []
    changed_at_s: float | None = None
    for at, load in enumerate(loads):
        now_s = EVERY_S * at
        observed = recent([*observed, seen(now_s, [load / count] * count)], rules)
        decision = decide(observed, rules, changed_at_s)
        if decision.verb != "stay":
            changed_at_s = now_s
        count += {"add": 1, "remove": -1, "stay": 0}[decision.verb]
        told.append((now_s, decision, count))
    return told


def test_a_node_comes_only_after_the_pressure_was_sustained() -> None:
    assert decide(series([1.5] * 3, [1.5] * 3), RULES).verb == "stay"
    assert decide(series([1.5] * 3, [1.5] * 3, [1.5] * 3), RULES).verb == "add"
    assert decide(series([1.5] * 3, [0.9] * 3, [1.5] * 3), RULES).verb == "stay"
    full = decide(series(*[[1.5] * 7] * 3), RULES)
    assert full.verb == "stay" and "--max 7" in full.reason


def test_one_node_above_the_target_is_not_a_reason_while_the_mean_is_below() -> None:
    assert decide(series(*[[2.0, 0.3, 0.3]] * 3), RULES).verb == "stay"


def test_fewer_members_than_the_least_are_made_up_for_at_once() -> None:
    assert decide(series([0.1, 0.1]), RULES).verb == "add"


def test_the_node_that_leaves_is_the_first_of_those_that_may() -> None:
    idle = series(*[[0.2] * 5] * 3)
    assert decide(idle, RULES) == Decision(
        "remove", "below 50% of the target for 10 s; at most 25% of the target with one node less", "n5"
    )
    nobody = decide(series(*[[0.2] * 5] * 3, removable=()), RULES)
    assert nobody.verb == "stay" and "may remove" in nobody.reason


@pytest.mark.parametrize(
    ("last", "why"),
    [
        ({"blocker": "n2 is down"}, "n2 is down"),
        ({"keeps": "n2 is slow"}, "but n2 is slow"),
        ({"owners": 5}, "needs 5 owners of 5 members"),
        ({"pressures": {"n1": 0.95, "n2": 0.1, "n3": 0.1, "n4": 0.1, "n5": 0.3}}, "would have 102%"),
    ],
)
def test_what_speaks_against_a_removal_is_the_reason_to_stay(last: dict[str, object], why: str) -> None:
    idle = series(*[[0.2] * 5] * 3)
    decision = decide([*idle, replace(seen(15.0, [0.2] * 5), **last)], RULES)  # type: ignore[arg-type]
    assert decision.verb == "stay" and why in decision.reason


def test_what_was_sustained_before_a_blocker_does_not_count() -> None:
    loaded = series(*[[1.5] * 3] * 4)
    loaded[2] = replace(loaded[2], blocker="n2 is down")
    assert decide(loaded, RULES).verb == "stay"


@given(st.lists(HIGH_AND_LOW, max_size=80), st.integers(3, 7))
def test_members_stay_within_the_bounds_and_change_once_a_cool_down(loads: list[float], count: int) -> None:
    changes: list[float] = []
    for at_s, decision, now in story(loads, RULES, count):
        assert RULES.least <= now <= RULES.most
        if decision.verb != "stay":
            changes.append(at_s)
    assert all(later - sooner >= RULES.cooldown_s for sooner, later in pairwise(changes))


@given(HIGH_AND_LOW, st.integers(3, 7), st.floats(0.05, 0.99))
@example(4.5, 4, 0.99)  # what a fifth node bears is idle
def test_a_load_that_does_not_change_is_answered_in_one_direction(
    load: float, count: int, low: float
) -> None:
    verbs = {decision.verb for _, decision, _ in story([load] * 120, replace(RULES, low=low), count)}
    assert not {"add", "remove"} <= verbs


@given(st.lists(st.floats(0.0, 2.0), min_size=4, max_size=7))
def test_a_removal_leaves_every_other_node_below_the_target(pressures: list[float]) -> None:
    decision = decide(series(*[pressures] * 3), RULES)
    if decision.verb == "remove":
        left = series(pressures)[0].pressures
        share = left[decision.node] / (len(left) - 1)
        assert all(each + share < RULES.high for node, each in left.items() if node != decision.node)


@given(st.lists(HIGH_AND_LOW, min_size=1, max_size=40), st.integers(3, 7))
def test_what_is_forgotten_changes_no_decision(loads: list[float], count: int) -> None:
    observed = [seen(EVERY_S * at, [load / count] * count) for at, load in enumerate(loads)]
    assert decide(recent(observed, RULES), RULES).verb == decide(observed, RULES).verb


@pytest.mark.parametrize(("rules", "named"), [((5, 3), "--min"), ((0, 3), "--min"), ((1, 2, 1.0), "--low")])
def test_rules_that_contradict_themselves_are_refused(rules: tuple[int, int], named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        ScalingRules(*rules)
