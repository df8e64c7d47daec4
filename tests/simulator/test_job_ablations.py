"""What simulated jobs must meet often enough for a checker to miss a safeguard that is off."""

from dataclasses import replace
from random import Random

import pytest

from ringmill.node.node_options import NodeOptions
from ringmill.simulator.options import usual_options
from ringmill.simulator.run import run_seed
from ringmill.simulator.subjects.jobs.tunables import draw_job_tunables
from tests.simulator.red_runs import turns_red

JOBS = usual_options(("jobs",))


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("commit-repeated", 6),
        ("forgotten-refused", 30),
        ("lost-attempts-noticed", 12),
        ("missing-is-not-moved", 4),
        ("one-output-shown-once", 28),
        ("read-maps-count", 25),
        ("states-as-written", 27),
        ("states-needed", 27),
    ],
)
def test_a_run_without_this_safeguard_turns_red(name: str, first: int) -> None:
    """The search starts near a seed known to turn red today; for most any hundred seeds would do."""
    assert turns_red(name, first, JOBS)


def test_a_part_that_somebody_deletes_fails_its_job_and_shows_nothing() -> None:
    options = replace(JOBS, faults=("part_lost",))
    while_it_is_shown = (307, 560, 587)
    results = [run_seed(seed, options) for seed in (*range(1, 13), *while_it_is_shown)]
    assert [result.violations for result in results if not result.is_ok] == []
    causes = {report.cause for result in results for job in result.history.jobs.jobs for report in job.told}
    assert "CORRUPT_DATA" in causes


def test_states_that_somebody_deletes_or_swaps_fail_their_job_and_show_nothing() -> None:
    options = replace(JOBS, faults=("states_lost",))
    results = [run_seed(seed, options) for seed in (27, 65, 68, 87, 125)]
    assert [result.violations for result in results if not result.is_ok] == []
    causes = [told.cause for result in results for job in result.history.jobs.jobs for told in job.told]
    assert "InputChanged" in causes and all(result.history.fired["states_lost"] for result in results)


def test_some_runs_have_little_patience_and_a_coordinator_always_has_more_than_a_worker() -> None:
    usual = NodeOptions().worker.orphan_after_s
    drawn = [draw_job_tunables(Random(seed)) for seed in range(40)]
    assert {patience.orphan_after_s < usual for patience in drawn} == {True, False}
    assert all(patience.orphan_after_s < patience.silent_after_s for patience in drawn)
    tuned = min(drawn, key=lambda patience: patience.orphan_after_s).tuned(NodeOptions())
    assert tuned.worker.orphan_after_s < usual
    assert tuned.coordinator.silent_after_s < NodeOptions().coordinator.silent_after_s
