"""The records that are told of a job whose reduces pass on what its maps have rendered, in batches."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from ringmill.cluster.mapreduce.api.chains.stage_specs import stage_of, stage_passes_on
from ringmill.cluster.mapreduce.api.chains.stages import LinkOf, StagePlace
from ringmill.cluster.mapreduce.api.described.description_fields import SourceOf
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.input_plan import source_key
from ringmill.cluster.mapreduce.machine.job_events import ReduceDone
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.journal_entries import StoredJob
from ringmill.cluster.mapreduce.summary.attempt_summary import attempts_of
from ringmill.cluster.mapreduce.summary.job_summary import summarize
from tests.cluster.mapreduce.job_world import World, plan

SPEC = JobSpec(
    job="j-1", module="wc", name="wc", bundle_sha256="", inputs=("/in",), output="/out",
    input_format="lines", output_format="tsv", reducers=1,
)  # fmt: skip
IN_ORDER = replace(SPEC, order="input")


def run_stage(world: World) -> None:
    """Each map gives one batch of ten records to the one reduce, which counts 10 for it and writes 3."""
    for _ in range(2):
        for start in world.offer_all():
            world.finish(start)


@pytest.mark.parametrize(("spec", "told"), [(SPEC, 20), (IN_ORDER, 3)])
def test_what_goes_into_a_reduce_is_reported_in_records(spec: JobSpec, told: int) -> None:
    world = World(JobMachine(plan(2, 1)), 2)
    run_stage(world)
    job = StoredJob(spec, 0.0, 0.0, world.machine)
    assert summarize(job.machine, partial(stage_passes_on, spec)).records["reduce_in"] == told
    assert [each.records_in for each in attempts_of(job)] == [10, 10, told]


def test_each_stage_of_a_chain_is_reported_by_its_own_order() -> None:
    links = (LinkOf(IN_ORDER.encode(), 1, ""), LinkOf(SPEC.encode(), 1, ""))
    spec = replace(SPEC, chain=links)
    assert [stage_passes_on(spec, number, number) for number in range(2)] == [True, False]
    world = World(JobMachine(plan(2, 1, tuple(each.rounds for each in links))), 2)
    run_stage(world)
    world.run_to_the_end()
    assert summarize(world.machine, partial(stage_passes_on, spec)).records["reduce_in"] == 3 + 20


def test_a_look_at_many_rounds_makes_no_description_of_any(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = (SourceOf("fed", "records", 1), SourceOf("few", "lines", 1))
    join = replace(SPEC, inputs=("/in", "/few"), sources=inputs, broadcast=("few",))
    links = (LinkOf(SPEC.encode(), 1000, "lines"), LinkOf(join.encode(), 1, ""))
    spec = replace(join, sources=(), chain=links, noted={source_key("few", ()): ()})
    stages = [(0, passed) for passed in range(100)] + [(1, 0), (1, 1)]
    told = [stage_of(spec, StagePlace(link, 0, passed)).passes_on for link, passed in stages]
    assert told == [False] * 100 + [True, False], "what was noted of inputs is of the first stage alone"
    for each in stages:
        stage_passes_on(spec, *each)
    monkeypatch.setattr(JobSpec, "__post_init__", lambda _: pytest.fail("a description is made"))
    assert [stage_passes_on(spec, *each) for each in stages] == told


def test_the_machine_still_compares_what_was_sent() -> None:
    world = World(JobMachine(plan(2, 1)), 2)
    for start in world.offer_all():
        world.finish(start)
    [reduce] = world.offer_all()
    done = world.result_of(reduce)
    assert isinstance(done, ReduceDone)
    assert done.output.records_in == 20
    world.say(replace(done, output=replace(done.output, records_in=3)))
    assert world.machine.reduces[0].winner is None
