"""Simulated registers: no seed breaks a promise unless a safeguard is off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import run_seed
from tests.simulator.red_runs import turns_red

REGISTERS = SimulationOptions(("registers",))
HOUR_AHEAD = 261  # a clock step made a register forget a later attempt, and the first one came after it


@pytest.mark.parametrize("first", [1, 11])
def test_no_seed_breaks_a_promise_of_registers(first: int) -> None:
    results = [run_seed(seed, REGISTERS) for seed in range(first, first + 2)]
    assert [(each.seed, each.violations) for each in results if not each.is_ok] == []
    done = sum(
        count for each in results for name, count in each.figures["registers"].items() if " ok" in name
    )
    asked = sum(sum(each.figures["registers"].values()) for each in results)
    assert done > asked // 3  # else nothing much was tried


def test_a_seed_that_once_failed_stays_mended() -> None:
    assert run_seed(HOUR_AHEAD, replace(REGISTERS, nodes=5)).violations == ()


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("promises-kept", 58),
        ("acceptors-synced", 1),
        ("change-known", 32),
        ("lease-waited-out", 10),
    ],
)
def test_a_run_without_this_safeguard_turns_red(name: str, first: int) -> None:
    """The search starts near a seed known to turn red today; any hundred seeds would do."""
    assert turns_red(name, first, REGISTERS)
