"""Whole clusters in one process: the same seed gives the same run, and no seed breaks a promise."""

import pytest

from simulator.options import RunOptions
from simulator.run import run_seed

SMALL = RunOptions(operations=12, keys=3, sessions=2)


def test_one_seed_gives_one_run() -> None:
    first = run_seed(7, SMALL)
    assert {run_seed(7, SMALL).trace for _ in range(3)} == {first.trace}
    assert run_seed(8, SMALL).trace != first.trace


@pytest.mark.parametrize("seed", range(1, 11))
def test_no_promise_is_broken_under_faults(seed: int) -> None:
    result = run_seed(seed, RunOptions())
    assert result.violations == ()
    assert result.answered > 0
