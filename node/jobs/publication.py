"""Makes a job's output visible, and ends with a certain answer only.

An error of outcome "unknown" says that the output may show: the commit is repeated until it returns, however
long that takes, because a job that is told as failed may not show and one that is told as done may not
vanish.  An error of outcome "failed" says that nothing shows: one that may pass is met a few times before the
job fails by it.  What a failed commit has copied to a store is removed.

Rules J10 and J26: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final

from ringmill.cluster.errors import CorruptData, InvalidArgument, JobFailed, RingmillError
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import StagedPart
from ringmill.cluster.mapreduce.commit.url_commit import leaves_copies
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.stage_totals import winners_of
from ringmill.cluster.mapreduce.machine.task_state import failure_pause_s
from ringmill.cluster.sometimes import sometimes
from ringmill.node.jobs.job_step_runner import JobStepRunner

__all__ = ["copies_left", "publish", "withdraw"]

_log = logging.getLogger(__name__)
_MAX_FAILURES: Final = 8
_STAYS: Final = (InvalidArgument, CorruptData, JobFailed)
"""An output that is there or too large, a path that may not be written, a part that is gone: the same
tomorrow."""


async def publish(
    job_steps: JobStepRunner,
    spec: JobSpec,
    parts: Sequence[StagedPart],
    *,
    may_show: bool = False,
    delayed: Callable[[RingmillError], None],
) -> None:
    """Returns when the output shows for certain; raises RingmillError when it certainly does not.

    `may_show` says that a former coordinator may have done some of it.  `delayed` hears of each error that
    the commit is repeated after.
    """
    for failures in count(1):
        try:
            await job_steps.publish(spec, parts, again=may_show)
        except RingmillError as error:
            if _is_certain(error, failures):
                raise
            may_show = may_show or error.outcome != "failed"
            sometimes("a commit is repeated")
            delayed(error)
        else:
            return
        await asyncio.sleep(failure_pause_s(f"{spec.job}.{failures}", failures))


def copies_left(spec: JobSpec, machine: JobMachine) -> list[StagedPart]:
    """What the commit of this job may have left in a store: it has failed, as its journal tells anybody."""
    tasks = machine.last_tasks
    if machine.state != "FAILED" or not spec.output_url or not all(each.winner for each in tasks):
        return []
    if machine.error is None or not leaves_copies(machine.error):
        return []
    return [StagedPart.of(each.attempt.task, each.output, spec) for each in winners_of(tasks)]


async def withdraw(job_steps: JobStepRunner, spec: JobSpec, machine: JobMachine) -> None:
    """Remove it, once the journal says that the job has failed: nobody commits any more.  A former
    coordinator may have been at it, so it is done again where it was done."""
    if copies := copies_left(spec, machine):
        try:
            await job_steps.withdraw(spec, copies)
        except RingmillError as error:  # the job has failed all the same, by what its commit met
            _log.warning("not all that job %s has copied to its output is removed: %s", spec.job, error)


def _is_certain(error: RingmillError, failures: int) -> bool:
    if error.outcome != "failed":
        return False
    return isinstance(error, _STAYS) or failures >= _MAX_FAILURES
