"""A schedule is its seed's: who repeats the seed repeats it.  No step hits more nodes than was asked for."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ringmill.client.chaos.fault_schedule import FAULT_KINDS, FaultStep, NodeFault, draw_schedule
from ringmill.client.checked.seeds import seeded_stream

NODES = ("n1", "n2", "n3", "n4", "n5")


def drawn(
    seed: int, *, kinds: tuple[NodeFault, ...] = FAULT_KINDS, at_once: int = 1, for_s: float = 60.0
) -> list[FaultStep]:
    draws = seeded_stream(seed, "faults")
    return draw_schedule(draws, NODES, kinds=kinds, at_once=at_once, every_s=3.0, for_s=for_s)


def test_a_seed_draws_one_schedule_and_another_seed_another() -> None:
    assert drawn(7) == drawn(7) != drawn(8)
    assert drawn(7, for_s=30.0) == drawn(7)[:10]  # a longer run begins as a shorter one


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_no_step_hits_more_nodes_at_once_and_each_ends_before_the_next_begins(at_once: int) -> None:
    steps = [step for seed in range(50) for step in drawn(seed, at_once=at_once)]
    assert {len(step.nodes) for step in steps} == {*range(1, at_once + 1)}
    assert all(len({*step.nodes}) == len(step.nodes) for step in steps)
    assert {name for step in steps for name in step.nodes} == {*NODES}
    for step, following in pairwise(drawn(3, at_once=at_once)):
        assert step.at_s + step.lasts_s < following.at_s


def test_every_kind_that_was_asked_for_comes_and_no_other() -> None:
    for seed in range(20):
        assert {step.kind for step in drawn(seed, for_s=9.0)} == {*FAULT_KINDS}
        assert {step.kind for step in drawn(seed, kinds=("pause",))} == {"pause"}


def test_steps_begin_within_the_run() -> None:
    assert all(0 < step.at_s < 10.0 for step in drawn(1, for_s=10.0))
    assert len(drawn(1, for_s=3.0)) == 1
