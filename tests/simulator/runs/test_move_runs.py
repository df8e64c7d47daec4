"""Simulated moves of partitions: some seed breaks a promise when a safeguard is off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringmill.simulator.options import usual_options
from ringmill.simulator.run import run_seed
from ringmill.simulator.subjects.every import ablation_named

MOVES = usual_options(("objects", "moves"))


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("rows-compared", 12),
        ("leaver-waits", 7),
        ("owed-kept", 23),
        ("owners-know-the-joint", 5),
        ("joint-reads", 13),
        ("filled-first", 2),
    ],
)
def test_a_run_without_this_safeguard_turns_red(name: str, first: int) -> None:
    """The search starts near a seed known to turn red today; any hundred seeds would do."""
    options = replace(ablation_named(name).under or MOVES, safeguards_off=(name,))
    assert any(run_seed(seed, options).violations for seed in range(first, first + 100))
