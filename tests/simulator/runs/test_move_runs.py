"""Simulated moves of partitions: some seed breaks a promise when a safeguard is off."""

from __future__ import annotations

import pytest

from ringmill.simulator.options import usual_options
from tests.simulator.red_runs import turns_red

MOVES = usual_options(("objects", "moves"))


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("rows-compared", 25),
        ("leaver-waits", 7),
        ("owed-kept", 23),
        ("owners-know-the-joint", 5),
        ("joint-reads", 5),
        ("filled-first", 2),
    ],
)
def test_a_run_without_this_safeguard_turns_red(name: str, first: int) -> None:
    """The search starts near a seed known to turn red today; any hundred seeds would do."""
    assert turns_red(name, first, MOVES)
