"""Plans the next stage of a chain, with a certain answer: a plan, or why there will be none.

An error that may pass is met a few times before the chain fails by it.

Rule J24: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Final

from ringmill.cluster.errors import CorruptData, InvalidArgument, RingmillError
from ringmill.cluster.mapreduce.api.chains.stage_specs import former_stage, stage_of
from ringmill.cluster.mapreduce.api.chains.stages import place_after
from ringmill.cluster.mapreduce.machine.job_events import StagePlanned, StageRefused
from ringmill.cluster.mapreduce.machine.journal_entries import StoredJob
from ringmill.cluster.mapreduce.machine.task_state import failure_pause_s
from ringmill.node.jobs.job_step_runner import JobStepRunner

__all__ = ["planned_stage"]

_MAX_FAILURES: Final = 8
_STAYS: Final = (InvalidArgument, CorruptData)


async def planned_stage(job_steps: JobStepRunner, job: StoredJob) -> StagePlanned | StageRefused:
    """What a chain does when a stage of it is over and another follows."""
    chain = job.machine.chain
    place = place_after(chain.links, chain.place, chain.over[-1].counters)
    assert place is not None, "a chain that is at its end plans nothing"
    stage = stage_of(job.spec, place)
    for failures in count(1):
        try:
            plan = await job_steps.plan_stage(stage, former_stage(job.spec, place))
        except RingmillError as error:
            if isinstance(error, _STAYS) or failures >= _MAX_FAILURES:
                return StageRefused(error)
        else:
            return StagePlanned(place, plan.splits, stage.partitions, plan.notes)
        await asyncio.sleep(failure_pause_s(f"{job.spec.job}.{place.passed}.{failures}", failures))
    raise AssertionError("count has no end")
