"""Simulated sessions at weak levels, and watches: no seed breaks a promise unless a safeguard is
off."""

from __future__ import annotations

import pytest

from ringmill.simulator.options import usual_options
from ringmill.simulator.run import run_seed
from ringmill.simulator.subjects.every import ablation_named
from tests.simulator.red_runs import turns_red

SESSIONS, WATCHES = usual_options(("sessions",)), usual_options(("watches",))


@pytest.mark.parametrize("first", [1, 11])
def test_no_seed_breaks_a_promise_of_sessions(first: int) -> None:
    results = [run_seed(seed, SESSIONS) for seed in range(first, first + 2)]
    assert [(each.seed, each.violations) for each in results if not each.is_ok] == []
    figures = [each.figures["sessions"] for each in results]
    assert sum(each["answered"] for each in figures) > sum(each["ops"] for each in figures) // 2


@pytest.mark.parametrize("first", [1, 9])
def test_no_seed_breaks_a_promise_of_watches(first: int) -> None:
    results = [run_seed(seed, WATCHES) for seed in range(first, first + 2)]
    assert [(each.seed, each.violations) for each in results if not each.is_ok] == []
    assert all(each.figures["watches"]["told"] for each in results)


def test_sessions_and_watches_run_beside_keys_and_values() -> None:
    options = usual_options(("objects", "sessions", "watches"))
    assert run_seed(3, options).violations == ()


def test_a_seed_with_watches_is_one_story() -> None:
    """Watches that wait for one change were woken in the order of their addresses."""
    options = usual_options(("watches",))
    assert len({run_seed(100, options).trace for _ in range(3)}) == 1


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("session-asked-on", 1),
        ("session-reads-kept", 1),
        ("session-writes-kept", 1),
        ("session-replaced", 9),
        ("session-forgotten-told", 10),
        ("session-weak-told", 1),
        ("watch-from-cursor", 1),
        ("watch-cursor-covered", 14),
        ("watch-tells-siblings", 1),
    ],
)
def test_a_run_without_this_safeguard_turns_red(name: str, first: int) -> None:
    """The search starts near a seed known to turn red today; any hundred seeds would do."""
    options = ablation_named(name).under or WATCHES
    assert turns_red(name, first, options)
