"""The model of registers (docs/models): it holds within small bounds, and not without one of its rules.

TLC explores every order of steps within the bounds.  The long form is scripts/models.py.
"""

from __future__ import annotations

import pytest

from models import Bounds, check, checker_missing

LIMIT_S = 240.0

pytestmark = pytest.mark.skipif(bool(checker_missing()), reason=checker_missing() or "it is there")


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(2, "TwoApart", reads=1),
        Bounds(3, "TwoApart", damages=1),
        Bounds(3, "Emptied", removals=1),
    ],
    ids=str,
)
def test_no_order_of_steps_breaks_a_promise_of_registers(bounds: Bounds) -> None:
    verdict = check(bounds, LIMIT_S, is_short=True)
    assert verdict.violated == "", verdict.told
    assert verdict.states > 10_000


@pytest.mark.parametrize(
    ("rule", "bounds", "violated"),
    [
        ("synced", Bounds(2, "TwoApart"), "OneChain"),
        ("promises", Bounds(2, "TwoApart"), "OneChain"),
        ("majority", Bounds(2, "TwoApart"), "Linear"),
        ("newest", Bounds(2, "TwoApart"), "OneChain"),
        ("operations", Bounds(2, "Repeated"), "AppliedOnce"),
        ("chosen", Bounds(2, "TwoApart", reads=1), "Linear"),
        ("damaged", Bounds(2, "TwoApart", damages=1), "OneChain"),
        ("floor", Bounds(3, "TwoApart", damages=1), "OneChain"),
        ("sources", Bounds(3, "TwoApart", damages=1), "OneChain"),
        ("ceiling", Bounds(2, "Repeated", damages=1), "Bounded"),
        ("closed", Bounds(2, "Deleted", removals=1), "OneChain"),
        ("remains", Bounds(3, "Emptied", removals=1), "OneChain"),
    ],
)
def test_the_model_finds_the_violation_without_this_rule(rule: str, bounds: Bounds, violated: str) -> None:
    verdict = check(bounds.without(rule), LIMIT_S, is_short=True)
    assert verdict.violated == violated
    assert "State 6:" in verdict.told, "the way there is told"
