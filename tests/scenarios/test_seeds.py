"""16 seeds of five nodes and 100 operations under drawn faults: no promise is broken.

And two in which partitions move and jobs run beside that.  By count and never by time; and every seed that
once failed, again, but for those that take long: they run where RINGMILL_LONG is set.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ringmill.simulator.campaign.many import Summary, run_seeds
from ringmill.simulator.options import SimulationOptions, usual_options
from tests.long_form import takes_long

GROUPS, SEEDS_A_GROUP = 8, 2
ONCE_FAILED = Path(__file__).parent.parent / "simulator" / "regression_seeds.txt"
Tell = Callable[[Summary], None]


@pytest.mark.parametrize("group", range(GROUPS))
def test_no_seed_breaks_a_promise(group: int, tell: Tell) -> None:
    seeds = range(1 + group * SEEDS_A_GROUP, 1 + (group + 1) * SEEDS_A_GROUP)
    summary = _must_hold(seeds, SimulationOptions())
    asked = summary.figures["objects"]
    assert asked["answered"] > asked["ops"] // 2  # else nothing much was tried
    tell(summary)


def test_no_seed_breaks_a_promise_while_partitions_move_and_jobs_run(tell: Tell) -> None:
    """Seeds whose plans come one after the other, with members that come and go."""
    summary = _must_hold([1, 5], usual_options(("moves", "objects", "jobs")))
    moves, jobs = summary.figures["moves"], summary.figures["jobs"]
    assert moves["moved"] > 10 and moves["come"] and jobs["SUCCEEDED"]
    assert summary.figures["objects"]["answered"]
    tell(summary)


@pytest.mark.parametrize("group", range(GROUPS))
def test_seeds_that_once_failed_stay_mended(group: int) -> None:
    seeds = [each for each in _once_failed() if "takes" not in each[1]][group::GROUPS]
    assert seeds
    for seed, given in seeds:
        _must_stay_mended(seed, given)


@takes_long
def test_long_seeds_that_once_failed_stay_mended() -> None:
    for seed, given in _once_failed():
        if given.get("takes") == ("long",):
            _must_stay_mended(seed, given)


def _once_failed() -> list[tuple[int, dict[str, tuple[str, ...]]]]:
    """The seeds of the file, each with what its line gives."""
    lines = [line.partition("#")[0].split() for line in ONCE_FAILED.read_text(encoding="utf-8").splitlines()]
    return [(int(words[0]), dict(map(_given, words[1:]))) for words in lines if words]


def _given(word: str) -> tuple[str, tuple[str, ...]]:
    name, _, values = word.partition("=")
    return name, tuple(values.split(","))


def _must_stay_mended(seed: int, given: Mapping[str, tuple[str, ...]]) -> None:
    usual = usual_options(given.get("subjects", SimulationOptions().subjects))
    (nodes,) = map(int, given.get("nodes", [usual.nodes]))
    _must_hold([seed], replace(usual, faults=given.get("faults"), nodes=nodes))


def _must_hold(seeds: Sequence[int], options: SimulationOptions) -> Summary:
    summary = Summary()
    for result in run_seeds(seeds, options, processes=1):
        summary.add(result)
    assert summary.failed == {}
    return summary
