"""Simulated counters, sets and maps: no seed breaks a promise unless a safeguard is off."""

from __future__ import annotations

import pytest

from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import run_seed
from tests.simulator.red_runs import turns_red

MERGING = SimulationOptions(("merging",))


def test_no_seed_loses_a_count_an_element_or_an_entry() -> None:
    results = [run_seed(seed, MERGING) for seed in range(1, 5)]
    assert [(each.seed, each.violations) for each in results if not each.is_ok] == []
    calls = [each.figures["merging"] for each in results]
    done = sum(count for counts in calls for name, count in counts.items() if name.endswith(" ok"))
    assert done > sum(sum(counts.values()) for counts in calls) // 2  # else nothing much was tried


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("own-count", 3),
        ("counted-once", 17),
        ("own-element", 1),
        ("removal-observes", 2),
        ("entry-observes", 6),
        ("last-alone", 12),
        ("newest-decides", 11),
    ],
)
def test_a_run_without_this_safeguard_turns_red(name: str, first: int) -> None:
    """The search starts near a seed known to turn red today; any hundred seeds would do."""
    assert turns_red(name, first, MERGING)
