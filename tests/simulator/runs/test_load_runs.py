"""Simulated jobs from keyspace to keyspace: no seed loses a record unless a safeguard is off."""

from __future__ import annotations

import pytest

from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import run_seed
from tests.simulator.red_runs import turns_red

LOADS = SimulationOptions(("loads",))


def test_no_seed_loses_or_doubles_a_record() -> None:
    results = [run_seed(seed, LOADS) for seed in range(1, 3)]
    assert [(each.seed, each.violations) for each in results if not each.is_ok] == []
    assert sum(each.figures["loads"].get("SUCCEEDED", 0) for each in results) > len(results) // 2
    assert sum(each.figures["loads"]["overwritten"] for each in results) > len(results)


def test_jobs_beside_a_load_are_told_from_it() -> None:
    run = run_seed(2, SimulationOptions(("jobs", "loads"), nodes=3, faults=()))
    assert run.violations == ()
    assert run.figures["loads"]["SUCCEEDED"] == 1


@pytest.mark.parametrize(
    ("name", "first"), [("load-noted", 7), ("snapshot-read", 20), ("window-repeated", 65)]
)
def test_a_run_without_this_safeguard_turns_red(name: str, first: int) -> None:
    """The search starts near a seed known to turn red today; any hundred seeds would do."""
    assert turns_red(name, first, LOADS)
