"""What an attempt took: added up, put together from node and process, and not forged."""

from typing import Any

import pytest

from ringmill.cluster.mapreduce.attempt_figures import PHASES, AttemptFigures, PhaseTimes, TaskMeter, measured
from ringmill.cluster.mapreduce.progress import Progress


def test_a_phase_lasts_until_the_next_and_may_come_again() -> None:
    clock = iter([0.0, 1.0, 1.5, 4.0])
    phases = PhaseTimes(lambda: next(clock))
    for name in ("map", "spill", "map"):
        phases.enter(name)
    assert phases.end() == {"map": 3.5, "spill": 0.5}


def test_a_process_measures_its_attempt_alone() -> None:
    now, cpu = iter([10.0, 12.0]), iter([100.0, 101.5])
    progress = Progress(TaskMeter(lambda: next(now), lambda: next(cpu), lambda: 77))
    progress.phases.enter("map")
    assert progress.figures() == AttemptFigures({"map": 2.0}, 1.5, 77)


def test_what_the_process_does_not_account_for_is_its_start() -> None:
    outside = {"wait": 0.5, "start": 0.25, "map": 4.0}
    inside = AttemptFigures({"map": 2.0, "write": 1.5}, 3.0, 99)
    put_together = measured(outside, inside, "map", 0)
    assert put_together == AttemptFigures({"wait": 0.5, "start": 0.75, "map": 2.0, "write": 1.5}, 3.0, 99)
    assert list(put_together.phases) == [name for name in PHASES if name in put_together.phases]
    assert measured(outside, None, "map", 55) == AttemptFigures(outside, 0.0, 55), "it failed"


def test_figures_cross_the_wire() -> None:
    figures = AttemptFigures({"wait": 0.000001, "sync": 12.5}, 3.25, 1 << 40)
    assert AttemptFigures.from_wire(figures.to_wire()) == figures


@pytest.mark.parametrize(
    "said",
    [None, [], [[0] * len(PHASES), 0], [[0], 0, 0], [[0.5] * len(PHASES), 0, 0], [[-1] * len(PHASES), 0, 0],
     [[0] * len(PHASES), True, 0], [[0] * len(PHASES), 0, 1 << 60], [["0"] * len(PHASES), 0, 0]],
)  # fmt: skip
def test_forged_figures_are_refused(said: Any) -> None:
    with pytest.raises(ValueError, match="no figures"):
        AttemptFigures.from_wire(said)
