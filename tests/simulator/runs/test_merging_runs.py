"""Simulated counters, sets and maps: no seed breaks a promise unless a safeguard is off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import run_seed
from ringmill.simulator.subjects.every import ablation_named

MERGING = SimulationOptions(("merging",))


def test_no_seed_loses_a_count_an_element_or_an_entry() -> None:
    results = [run_seed(seed, MERGING) for seed in range(1, 8)]
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
        ("removal-observes", 24),
        ("entry-observes", 6),
    ],
)
def test_a_run_without_this_safeguard_turns_red(name: str, first: int) -> None:
    """The search starts near a seed known to turn red today; any hundred seeds would do."""
    options = replace(ablation_named(name).under or MERGING, safeguards_off=(name,))
    assert any(run_seed(seed, options).violations for seed in range(first, first + 100))
