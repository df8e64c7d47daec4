"""A campaign whose worker the kernel ends is told, and waits for nobody."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

import pytest

from ringmill.simulator import __main__ as simulate
from ringmill.simulator.__main__ import main
from ringmill.simulator.campaign import many
from ringmill.simulator.campaign.many import run_seeds
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import SimulationResult, run_seed
from tests.simulator.worker_calls import echo, end_at_two

NOTHING: Any = None  # for options, which would load the simulator in each worker


def test_a_worker_that_was_ended_from_outside_ends_the_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "_run", end_at_two)
    with pytest.raises(BrokenProcessPool):
        list(run_seeds(range(6), NOTHING, processes=2))
    assert multiprocessing.active_children() == []


def test_results_come_in_order_from_workers_that_take_turns_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "_run", echo)
    monkeypatch.setattr(many, "_SEEDS_A_WORKER", 2)
    results: Any = run_seeds(range(9), NOTHING, processes=2)
    assert list(islice(results, 6)) == [*range(6)]
    results.close()  # as Ctrl-C does
    assert multiprocessing.active_children() == []


def test_the_command_says_which_seeds_have_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calm = run_seed(1, SimulationOptions(faults=(), operations=5))

    def broken(*_: object, **__: object) -> Iterator[SimulationResult]:
        yield calm
        raise BrokenProcessPool

    monkeypatch.setattr(simulate, "run_seeds", broken)
    assert main(["--seed", "7", "--seeds", "10"]) == 1
    told = capsys.readouterr().err
    assert "seeds 8 to 16 have no verdict; 1 are done, 0 with a violation" in told
    assert "--seed 8 --seeds 9" in told
