"""Plans the next stage of a chain, with a certain answer: a plan, or why there will be none.

An error that may pass is met a few times before the chain fails by it.

Rule J24: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Final

from ringmill.cluster.errors import CorruptData, InvalidArgument, JobFailed, RingmillError
from ringmill.cluster.mapreduce.api.chains.stage_specs import former_stage, stage_of
from ringmill.cluster.mapreduce.api.chains.stages import may_ask, place_after
from ringmill.cluster.mapreduce.failures import Cause
from ringmill.cluster.mapreduce.machine.job_events import StagePlanned, StageRefused
from ringmill.cluster.mapreduce.machine.journal_entries import StoredJob
from ringmill.cluster.mapreduce.machine.task_state import failure_pause_s
from ringmill.cluster.sometimes import sometimes
from ringmill.node.jobs.surroundings import Surroundings

__all__ = ["planned_stage"]

_MAX_FAILURES: Final = 8
_STAYS: Final = (InvalidArgument, CorruptData)
_OF_THE_CODE: Final = (Cause.USER_ERROR, Cause.BAD_BUNDLE, Cause.OUT_OF_MEMORY)


async def planned_stage(world: Surroundings, job: StoredJob) -> StagePlanned | StageRefused:
    """What a chain does when a stage of it is over and another follows."""
    passed = job.machine.chain.place.passed
    for failures in count(1):
        try:
            return await _planned(world, job)
        except RingmillError as error:
            if _stays(error) or failures >= _MAX_FAILURES:
                return StageRefused(error)
        await asyncio.sleep(failure_pause_s(f"{job.spec.job}.{passed}.{failures}", failures))
    raise AssertionError("count has no end")


async def _planned(world: Surroundings, job: StoredJob) -> StagePlanned:
    """Raises RingmillError."""
    chain, spec = job.machine.chain, job.spec
    counters, was_last = chain.over[-1].counters, False
    if may_ask(spec.chain[chain.place.link], chain.place):
        bundle = await world.code_of(spec)
        was_last = await world.job_steps.is_last_round(job.stage, bundle, chain.place.round + 1, counters)
        if was_last:
            sometimes("a function ends the rounds")
        else:
            sometimes("a function asks for another round")
    place = place_after(chain.links, chain.place, counters, was_last=was_last)
    assert place is not None, "a chain that is at its end plans nothing"
    stage = stage_of(spec, place)
    plan = await world.job_steps.plan_stage(stage, former_stage(spec, place))
    return StagePlanned(place, plan.splits, stage.partitions, plan.notes)


def _stays(error: RingmillError) -> bool:
    """Whether it would come again: of the job's code, its own errors do."""
    is_of_the_code = isinstance(error, JobFailed) and error.detail.get("cause") in _OF_THE_CODE
    return isinstance(error, _STAYS) or is_of_the_code
