"""A core of the nodes is healed while the rest stays broken: which nodes, and what breaks beside them."""

from dataclasses import replace
from random import Random

import pytest

from ringmill.simulator.faults.core import draw_rest
from ringmill.simulator.options import SimulationOptions, usual_options
from ringmill.simulator.run import SimulationResult, run_seed

NODES = ["n1", "n2", "n3", "n4", "n5"]
OWNERS = [("n1", "n2", "n3"), ("n2", "n3", "n4")]


def seeds_with(
    core: float, *, faults: tuple[str, ...] | None = None, without: str = ""
) -> list[SimulationResult]:
    safeguards_off = (without,) if without else ()
    options = SimulationOptions(core=core, faults=faults, safeguards_off=safeguards_off)
    return [run_seed(seed, options) for seed in range(1, 6)]


@pytest.mark.parametrize("seed", range(50))
def test_a_core_has_a_quorum_of_every_key_and_a_majority_of_the_members(seed: int) -> None:
    rest = draw_rest(Random(seed), NODES, [], OWNERS, level=2)
    assert 1 <= len(rest) <= 2
    assert all(len(set(owners) - set(rest)) >= 2 for owners in OWNERS)


def test_damaged_nodes_are_never_in_the_core() -> None:
    assert all("n3" in draw_rest(Random(seed), NODES, ["n3"], OWNERS, level=2) for seed in range(50))


def test_there_is_no_core_when_too_many_owners_are_damaged() -> None:
    assert draw_rest(Random(1), NODES, ["n2", "n3"], OWNERS, level=2) == []
    assert draw_rest(Random(1), NODES, ["n1"], OWNERS, level=3) == []


def test_a_core_answers_beside_a_broken_rest_also_after_its_clocks_had_jumped() -> None:
    for result in seeds_with(1.0, faults=("clock_jump", "crash", "split_one")):
        assert result.is_ok, result.violations
        assert result.history.core.rest
        assert result.history.core.asked


def test_a_wait_for_all_owners_is_found_beside_a_core_and_by_nothing_else() -> None:
    beside = [result for result in seeds_with(1.0, faults=(), without="w-is-enough") if result.violations]
    assert beside
    assert {found.property for result in beside for found in result.violations} == {"C17"}
    assert not any(result.violations for result in seeds_with(0.0, faults=(), without="w-is-enough"))


def test_a_job_that_a_core_is_asked_for_ends() -> None:
    usual = replace(usual_options(("jobs",)), core=1.0, faults=())
    results = [run_seed(seed, usual) for seed in range(1, 6)]
    assert all(result.is_ok for result in results), [result.violations for result in results]
    assert any(
        job.job == "job-core" and not job.shortfall for each in results for job in each.history.jobs.jobs
    )
    without_it = [run_seed(seed, replace(usual, safeguards_off=("seen-down-passed",))) for seed in (8, 10)]
    assert {found.property for result in without_it for found in result.violations} == {"C17"}


def test_a_run_that_draws_no_core_is_the_run_without_the_phase() -> None:
    drawn = run_seed(1, SimulationOptions())
    assert not drawn.history.core.rest
    assert drawn.trace == run_seed(1, SimulationOptions(core=0.0)).trace
