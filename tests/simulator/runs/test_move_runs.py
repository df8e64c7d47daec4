"""Simulated moves of partitions: a safeguard that is off is missed."""

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
def test_a_safeguard_of_moves_that_is_off_is_missed(name: str, first: int) -> None:
    """From a seed on that is near one which misses it today: a hundred seeds of any start would do."""
    options = replace(ablation_named(name).under or MOVES, safeguards_off=(name,))
    assert any(run_seed(seed, options).violations for seed in range(first, first + 100))
