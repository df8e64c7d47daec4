"""Simulated scans: no seed breaks a promise unless a safeguard is off."""

from __future__ import annotations

import pytest

from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import run_seed
from tests.simulator.red_runs import turns_red

SCANS = SimulationOptions(("scans",))


@pytest.mark.parametrize("first", [1, 11])
def test_no_seed_breaks_a_promise_of_scans(first: int) -> None:
    results = [run_seed(seed, SCANS) for seed in range(first, first + 2)]
    assert [(each.seed, each.violations) for each in results if not each.is_ok] == []
    scans = sum(each.figures["scans"]["scans"] for each in results)
    assert sum(each.figures["scans"]["complete"] for each in results) > scans // 2  # else nothing was tried
    assert sum(each.figures["scans"]["keys"] for each in results) > 5 * scans


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("scan-asks-r", 2),
        ("scan-merges", 2),
        ("scan-shows-values", 1),
        ("scan-sees-tombstones", 13),
        ("nearest-end", 2),
        ("cursor-is-next", 1),
        ("sorted-keys-count", 58),
    ],
)
def test_a_run_without_this_safeguard_turns_red(name: str, first: int) -> None:
    """The search starts near a seed known to turn red today; any hundred seeds would do."""
    assert turns_red(name, first, SCANS)
